/* What `miredctl top` shows, as lines of printable ASCII for a screen of any size. Pure: answers of
 * the daemon go in, lines come out; top.c brings them to the terminal. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

enum {
	TOP_WIDTH_MAX = 400, /* what is larger stays empty */
	TOP_HEIGHT_MAX = 256,
};

/* How a line is shown; it says as much without. */
enum top_look { TOP_PLAIN, TOP_HEAD, TOP_TITLE, TOP_WARNING };

struct top_line {
	enum top_look look;
	char text[TOP_WIDTH_MAX + 1]; /* at most as long as the screen is wide */
};

struct top_screen {
	size_t width, height;
	size_t n_lines;
	struct top_line lines[TOP_HEIGHT_MAX];
};

/* Which tables; the order in which the key goes through them. */
enum top_tables { TOP_ALL, TOP_LONGEST, TOP_NETWORKS, TOP_LISTS, TOP_TABLES_COUNT };

/* What the daemon said at a moment; references are borrowed. */
struct top_sample {
	const json_t *status; /* NULL: it has said nothing so far */
	const json_t *held;   /* NULL: likewise */
	double at_secs;       /* of a clock that only goes forward */
};

struct top_view {
	struct top_sample now;
	struct top_sample before; /* for what is counted per second */
	const char *trouble;      /* why there is nothing newer; NULL = there is */
	bool is_refused;          /* because the daemon does not want to tell */
	struct tm clock;
	unsigned delay_secs;
	size_t n_rows; /* of a table at most; 0 = as many as fit */
	enum top_tables tables;
	bool is_paused;
	bool shows_help;
};

/* width and height: of the terminal, 0 and more than the bounds are fine. */
void top_screen_draw(struct top_screen *screen, const struct top_view *view, size_t width,
                     size_t height);
