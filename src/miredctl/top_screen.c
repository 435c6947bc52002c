/* From top to bottom: a head of two lines, a line or more for each section, the tables. What finds
 * no room is left out, last things first; every line is written by write_at, which knows the
 * bounds. */
#include "miredctl/top_screen.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/span.h"
#include "miredctl/held_text.h"
#include "miredctl/top_figures.h"

enum {
	LABEL_COLUMNS = 9, /* of a section's name */
	GAP_COLUMNS = 2,   /* between figures, and between tables */
	CLOCK_COLUMNS = 19,
	/* Tables beside each other from this width on, and how wide the two small ones are then. */
	WIDE_COLUMNS = 150,
	SMALL_TABLE_COLUMNS = 38,
	/* Networks and lists beside each other below the longest held. */
	HALVES_COLUMNS = 50,
	TALL_LINES = 40, /* from here on a section may take more than a line */
	SECTION_LINES_TALL = 3,
};

/* Writes text at a column of a line that exists, cut to columns and to the screen. */
static void write_at(struct top_screen *screen, size_t row, size_t column, size_t columns,
                     const char *text)
{
	if (row >= screen->n_lines || column >= screen->width) {
		return;
	}
	char *line = screen->lines[row].text;
	size_t room = screen->width - column < columns ? screen->width - column : columns;
	size_t n = strnlen(text, room);
	size_t len = strlen(line);
	if (len < column) {
		memset(line + len, ' ', column - len);
		line[column] = '\0';
		len = column;
	}
	memcpy(line + column, text, n);
	if (column + n > len) {
		line[column + n] = '\0';
	}
}

/* A further line, if there is room. */
static bool add_line(struct top_screen *screen, enum top_look look)
{
	if (screen->n_lines >= screen->height) {
		return false;
	}
	screen->lines[screen->n_lines] = (struct top_line){.look = look};
	screen->n_lines++;
	return true;
}

static void put_line(struct top_screen *screen, enum top_look look, const char *text)
{
	if (add_line(screen, look)) {
		write_at(screen, screen->n_lines - 1, 0, screen->width, text);
	}
}

/* At the right edge, if what stands there leaves room. */
static void put_right(struct top_screen *screen, const char *text)
{
	size_t len = strlen(text);
	size_t row = screen->n_lines - 1;
	if (strlen(screen->lines[row].text) + GAP_COLUMNS + len <= screen->width) {
		write_at(screen, row, screen->width - len, len, text);
	}
}

/* --- the head --- */

static void put_first_line(struct top_screen *screen, const struct top_view *view)
{
	char text[TEXT_ROW_MAX];
	char version[TEXT_NAME_MAX];
	char up[TEXT_NUMBER_MAX];
	char clock[CLOCK_COLUMNS + 1] = "";
	const json_t *status = view->now.status;
	if (!add_line(screen, TOP_HEAD)) {
		return;
	}
	(void)snprintf(text, sizeof text, "mired %s",
	               text_of(json_object_get(status, "version"), version, sizeof version));
	write_at(screen, 0, 0, screen->width, text);
	if (status) {
		double secs = json_number_value(json_object_get(status, "uptime_secs"));
		(void)snprintf(text, sizeof text, "  up %s", text_secs(secs, up));
		write_at(screen, 0, strlen(screen->lines[0].text), screen->width, text);
	}
	(void)strftime(clock, sizeof clock, "%Y-%m-%d %H:%M:%S", &view->clock);
	put_right(screen, clock);
}

static void put_second_line(struct top_screen *screen, const struct top_view *view)
{
	char text[TEXT_ROW_MAX] = "listening";
	char pace[TEXT_ROW_MAX];
	size_t i;
	json_t *address;
	json_t *listen = json_object_get(json_object_get(view->now.status, "engine"), "listen");
	json_array_foreach(listen, i, address)
	{
		char name[TEXT_NAME_MAX];
		size_t len = strlen(text);
		(void)snprintf(text + len, sizeof text - len, " %s",
		               text_of(address, name, sizeof name));
	}
	if (add_line(screen, TOP_PLAIN)) {
		write_at(screen, screen->n_lines - 1, 0, screen->width, listen ? text : "");
		(void)snprintf(pace, sizeof pace, view->is_paused ? "PAUSED" : "every %u s",
		               view->delay_secs);
		put_right(screen, pace);
	}
}

/* As many of them in a line as have room: none is cut off but where one alone is too long. */
static void put_attention(struct top_screen *screen, const struct top_view *view)
{
	static const char word[] = "ATTENTION: ";
	char text[TEXT_ROW_MAX] = "";
	const char *warning = NULL;
	for (size_t i = 0; top_attention(view, i, &warning); i++) {
		size_t len = strlen(text);
		if (len > 0 && len + strlen("; ") + strlen(warning) > screen->width) {
			put_line(screen, TOP_WARNING, text);
			len = 0;
		}
		(void)snprintf(text + len, sizeof text - len, "%s%s", len > 0 ? "; " : word,
		               warning);
	}
	if (text[0]) {
		put_line(screen, TOP_WARNING, text);
	}
}

static void put_trouble(struct top_screen *screen, const struct top_view *view)
{
	char text[TEXT_ROW_MAX];
	char why[TEXT_ROW_MAX];
	if (view->trouble) {
		(void)snprintf(text, sizeof text, "%s, trying again: %.400s",
		               view->is_refused ? "REFUSED" : "NO ANSWER",
		               span_escape(span_of_str(view->trouble), why, sizeof why));
		put_line(screen, TOP_WARNING, text);
	}
	put_attention(screen, view);
}

/* --- sections --- */

/* The figures of a section, in at most n_lines lines. */
static void put_section(struct top_screen *screen, const struct top_view *view, size_t section,
                        size_t n_lines)
{
	char text[TEXT_ROW_MAX];
	size_t column = LABEL_COLUMNS;
	size_t n_used = 0;
	for (size_t i = 0; top_figure(view, section, i, text); i++) {
		size_t len = strlen(text);
		bool is_over = column > LABEL_COLUMNS && column + len > screen->width;
		if (len == 0) {
			continue;
		}
		if (n_used == 0 || is_over) {
			if (n_used == n_lines || !add_line(screen, TOP_PLAIN)) {
				return;
			}
			write_at(screen, screen->n_lines - 1, 0, LABEL_COLUMNS,
			         n_used == 0 ? top_section_name(section) : "");
			n_used++;
			column = LABEL_COLUMNS;
		}
		write_at(screen, screen->n_lines - 1, column, screen->width, text);
		column += len + GAP_COLUMNS;
	}
}

static void put_sections(struct top_screen *screen, const struct top_view *view)
{
	bool is_tall = screen->height >= TALL_LINES;
	for (size_t i = 0; i < top_n_sections(); i++) {
		if (is_tall || !top_section_is_extra(i)) {
			put_section(screen, view, i, is_tall ? SECTION_LINES_TALL : 1);
		}
	}
}

/* --- tables --- */

struct box {
	size_t row, column, n_rows, columns;
};

static void put_table(struct top_screen *screen, const struct top_view *view, enum held_table table,
                      struct box box)
{
	char text[TEXT_ROW_MAX];
	size_t n = held_table_rows(table, view->now.held);
	if (box.n_rows == 0) {
		return;
	}
	n = view->n_rows > 0 && n > view->n_rows ? view->n_rows : n;
	held_table_title(table, view->now.held, box.columns, text);
	write_at(screen, box.row, box.column, box.columns, text);
	for (size_t i = 0; i < n && i + 1 < box.n_rows; i++) {
		held_table_row(table, view->now.held, i, box.columns, text);
		write_at(screen, box.row + 1 + i, box.column, box.columns, text);
	}
}

static void set_look(struct top_screen *screen, size_t row, enum top_look look)
{
	if (row < screen->n_lines) {
		screen->lines[row].look = look;
	}
}

/* Two tables beside each other. */
static void put_halves(struct top_screen *screen, const struct top_view *view, struct box box)
{
	size_t half = (box.columns - GAP_COLUMNS) / 2;
	struct box left = box;
	struct box right = box;
	left.columns = half;
	right.column = box.column + half + GAP_COLUMNS;
	right.columns = box.columns - half - GAP_COLUMNS;
	put_table(screen, view, HELD_NETWORKS, left);
	put_table(screen, view, HELD_LISTS, right);
	set_look(screen, box.row, TOP_TITLE);
}

/* One above the other; where there is no room for the halves, the longest held alone. */
static void put_stacked(struct top_screen *screen, const struct top_view *view, struct box box)
{
	struct box upper = box;
	struct box lower = box;
	bool has_lower = box.columns >= HALVES_COLUMNS && box.n_rows >= 4;
	if (has_lower) {
		size_t n_longest = held_table_rows(HELD_LONGEST, view->now.held);
		upper.n_rows = (box.n_rows + 1) / 2;
		upper.n_rows = upper.n_rows > n_longest + 2 ? n_longest + 2 : upper.n_rows;
		lower.row = box.row + upper.n_rows;
		lower.n_rows = box.n_rows - upper.n_rows;
		put_halves(screen, view, lower);
	}
	put_table(screen, view, HELD_LONGEST, upper);
	set_look(screen, upper.row, TOP_TITLE);
}

/* All three beside each other. */
static void put_beside(struct top_screen *screen, const struct top_view *view, struct box box)
{
	struct box longest = box;
	struct box small = box;
	longest.columns = box.columns - (size_t)2 * (SMALL_TABLE_COLUMNS + GAP_COLUMNS);
	small.columns = SMALL_TABLE_COLUMNS;
	small.column = box.column + longest.columns + GAP_COLUMNS;
	put_table(screen, view, HELD_LONGEST, longest);
	put_table(screen, view, HELD_NETWORKS, small);
	small.column += SMALL_TABLE_COLUMNS + GAP_COLUMNS;
	put_table(screen, view, HELD_LISTS, small);
	set_look(screen, box.row, TOP_TITLE);
}

static void put_one(struct top_screen *screen, const struct top_view *view, enum held_table table,
                    struct box box)
{
	put_table(screen, view, table, box);
	set_look(screen, box.row, TOP_TITLE);
}

static void put_tables(struct top_screen *screen, const struct top_view *view)
{
	struct box box = {.columns = screen->width};
	(void)add_line(screen, TOP_PLAIN);
	box.row = screen->n_lines;
	while (add_line(screen, TOP_PLAIN)) {
	}
	box.n_rows = screen->n_lines - box.row;
	switch (view->tables) {
	case TOP_LONGEST:
		put_one(screen, view, HELD_LONGEST, box);
		return;
	case TOP_NETWORKS:
		put_one(screen, view, HELD_NETWORKS, box);
		return;
	case TOP_LISTS:
		put_one(screen, view, HELD_LISTS, box);
		return;
	case TOP_ALL:
	case TOP_TABLES_COUNT:
		break;
	}
	if (box.columns >= WIDE_COLUMNS) {
		put_beside(screen, view, box);
	} else {
		put_stacked(screen, view, box);
	}
}

/* --- the whole --- */

static void put_help(struct top_screen *screen)
{
	static const char *const lines[] = {
	        "",
	        "q        leave",
	        "v        tables: all, longest held, networks, lists",
	        "l n t    only the longest held, only the networks, only the lists",
	        "a        all tables",
	        "p        pause, and go on",
	        "+ -      a second more, a second less between two looks",
	        "h ?      this help; any key leaves it",
	        "",
	        "What the figures mean: miredctl(8), mired-ctl(7).",
	};
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		put_line(screen, TOP_PLAIN, lines[i]);
	}
}

void top_screen_draw(struct top_screen *screen, const struct top_view *view, size_t width,
                     size_t height)
{
	screen->width = width < TOP_WIDTH_MAX ? width : TOP_WIDTH_MAX;
	screen->height = height < TOP_HEIGHT_MAX ? height : TOP_HEIGHT_MAX;
	screen->n_lines = 0;
	put_first_line(screen, view);
	put_second_line(screen, view);
	put_trouble(screen, view);
	if (view->shows_help) {
		put_help(screen);
		return;
	}
	if (view->now.status) {
		put_sections(screen, view);
		put_tables(screen, view);
	}
}
