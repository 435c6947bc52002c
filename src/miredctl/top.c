/* miredctl top: brings the lines of top_screen.c to the terminal, sees to keys and to changes of
 * its size, and goes on when the daemon is away. The one user of curses, which sends a terminal
 * only what has changed. */
#include <errno.h>
#include <ncurses.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/span.h"
#include "miredctl/call.h"
#include "miredctl/top_sampler.h"
#include "miredctl/top_screen.h"

enum {
	DELAY_DEFAULT_SECS = 2,
	DELAY_MAX_SECS = 60,
	ROWS_MAX = 100,
	ONCE_ROWS = 10,
	ONCE_COLUMNS = 100,
	ONCE_USECS = 1000000, /* between the two looks from which rates follow */
	ESCAPE_MS = 25,
	WARNING_PAIR = 1,
	CTRL_L = 'L' & 0x1f,
};

struct top {
	char path[CALL_PATH_MAX];
	size_t rows_wanted; /* -n; 0 = as many as fit */
	unsigned delay_secs;
	struct top_sampler *sampler;
	struct top_answers now, before;
	char trouble[TOP_TROUBLE_MAX];
	bool is_refused;
	enum top_tables tables;
	bool is_paused;
	bool shows_help;
	bool is_over;
	struct top_screen screen;
};

/* --- what is shown ---------------------------------------------------------------------------- */

static void draw(struct top *top, size_t width, size_t height)
{
	struct top_view view = {
	        .now = {top->now.status, top->now.held, top->now.at_secs},
	        .before = {top->before.status, top->before.held, top->before.at_secs},
	        .trouble = top->trouble[0] ? top->trouble : NULL,
	        .is_refused = top->is_refused,
	        .delay_secs = top->delay_secs,
	        .n_rows = top->rows_wanted,
	        .tables = top->tables,
	        .is_paused = top->is_paused,
	        .shows_help = top->shows_help,
	};
	time_t now = time(NULL);
	(void)localtime_r(&now, &view.clock);
	top_screen_draw(&top->screen, &view, width, height);
}

/* Answers that do not come leave the last ones where they are. */
static void take(struct top *top, struct top_answers *answers)
{
	(void)snprintf(top->trouble, sizeof top->trouble, "%s", answers->trouble);
	top->is_refused = answers->is_refused;
	if (answers->trouble[0]) {
		top_answers_fini(answers);
		return;
	}
	top_answers_fini(&top->before);
	top->before = top->now;
	top->now = *answers;
	if (!top->now.held) { /* refused while many ask for it */
		top->now.held = json_incref(top->before.held);
	}
}

/* --- once, as text ---------------------------------------------------------------------------- */

static int print_screen(const struct top_screen *screen)
{
	size_t n = screen->n_lines;
	while (n > 0 && screen->lines[n - 1].text[0] == '\0') {
		n--;
	}
	for (size_t i = 0; i < n; i++) {
		(void)puts(screen->lines[i].text);
	}
	return call_end_output();
}

/* A terminal's, so that no line is wrapped. */
static size_t columns_once(void)
{
	struct winsize size;
	bool is_known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
	return is_known ? size.ws_col : ONCE_COLUMNS;
}

static int run_once(struct top *top)
{
	struct ctl_link *link = NULL;
	struct top_answers answers;
	size_t n_rows = top->rows_wanted ? top->rows_wanted : ONCE_ROWS;
	for (int i = 0; i < 2 && !top->trouble[0]; i++) {
		if (i > 0) {
			(void)usleep(ONCE_USECS);
		}
		top_fetch(&link, top->path, n_rows, &answers);
		take(top, &answers);
	}
	if (link) {
		ctl_link_close(link);
	}
	if (top->trouble[0]) {
		return call_complain(top->is_refused ? "mired refuses" : "no mired answers",
		                     top->trouble);
	}
	top->rows_wanted = n_rows;
	top->delay_secs = ONCE_USECS / 1000000;
	draw(top, columns_once(), TOP_HEIGHT_MAX);
	return print_screen(&top->screen);
}

/* --- the terminal ----------------------------------------------------------------------------- */

static attr_t attributes(enum top_look look)
{
	attr_t warning = A_BOLD | (has_colors() ? (attr_t)COLOR_PAIR(WARNING_PAIR) : A_NORMAL);
	switch (look) {
	case TOP_HEAD:
		return A_BOLD;
	case TOP_TITLE:
		return A_REVERSE;
	case TOP_WARNING:
		return warning;
	case TOP_PLAIN:
		break;
	}
	return A_NORMAL;
}

static void put_screen(const struct top_screen *screen)
{
	(void)erase();
	for (size_t i = 0; i < screen->n_lines; i++) {
		(void)attrset((int)attributes(screen->lines[i].look));
		(void)mvaddstr((int)i, 0, screen->lines[i].text);
	}
	(void)attrset((int)A_NORMAL);
	(void)refresh();
}

static void show(struct top *top)
{
	draw(top, COLS > 0 ? (size_t)COLS : 0, LINES > 0 ? (size_t)LINES : 0);
	put_screen(&top->screen);
}

/* Curses leaves the terminal as it was on SIGTERM and SIGINT only. */
static void on_other_end(int signo)
{
	(void)signo;
	(void)raise(SIGTERM);
}

static SCREEN *open_terminal(void)
{
	SCREEN *terminal = newterm(NULL, stdout, stdin);
	if (terminal && !tigetstr("cup")) { /* curses would try, but it cannot move the cursor */
		(void)endwin();
		delscreen(terminal);
		terminal = NULL;
	}
	if (!terminal) {
		return NULL;
	}
	(void)signal(SIGHUP, on_other_end);
	(void)signal(SIGQUIT, on_other_end);
	(void)set_escdelay(ESCAPE_MS);
	(void)cbreak();
	(void)noecho();
	(void)nonl();
	(void)keypad(stdscr, TRUE);
	(void)nodelay(stdscr, TRUE);
	(void)curs_set(0);
	if (has_colors() && start_color() == OK && use_default_colors() == OK) {
		(void)init_pair(WARNING_PAIR, COLOR_RED, -1);
	}
	return terminal;
}

/* --- keys ------------------------------------------------------------------------------------- */

static void order(const struct top *top)
{
	size_t n_rows = LINES > 0 && LINES < ROWS_MAX ? (size_t)LINES : ROWS_MAX;
	top_sampler_set(top->sampler,
	                (struct top_order){
	                        .delay_secs = top->delay_secs,
	                        .n_rows = top->rows_wanted ? top->rows_wanted : n_rows,
	                        .is_paused = top->is_paused,
	                });
}

static void key_leave(struct top *top)
{
	top->is_over = true;
}

static void key_tables(struct top *top)
{
	top->tables = (enum top_tables)((top->tables + 1U) % TOP_TABLES_COUNT);
}

static void key_all(struct top *top)
{
	top->tables = TOP_ALL;
}

static void key_longest(struct top *top)
{
	top->tables = TOP_LONGEST;
}

static void key_networks(struct top *top)
{
	top->tables = TOP_NETWORKS;
}

static void key_lists(struct top *top)
{
	top->tables = TOP_LISTS;
}

static void key_pause(struct top *top)
{
	top->is_paused = !top->is_paused;
	order(top);
}

static void key_slower(struct top *top)
{
	top->delay_secs += top->delay_secs < DELAY_MAX_SECS ? 1 : 0;
	order(top);
}

static void key_faster(struct top *top)
{
	top->delay_secs -= top->delay_secs > 1 ? 1 : 0;
	order(top);
}

static void key_help(struct top *top)
{
	top->shows_help = true;
}

static void key_redraw(struct top *top)
{
	(void)top;
	(void)clearok(curscr, TRUE);
}

static void key_resized(struct top *top)
{
	order(top);
}

static const struct {
	int key;
	void (*act)(struct top *top);
} keys[] = {
        {'q', key_leave},          {'v', key_tables}, {'a', key_all},   {'l', key_longest},
        {'n', key_networks},       {'t', key_lists},  {'p', key_pause}, {'+', key_slower},
        {'-', key_faster},         {'h', key_help},   {'?', key_help},  {CTRL_L, key_redraw},
        {KEY_RESIZE, key_resized},
};

static void on_key(struct top *top, int key)
{
	if (top->shows_help && key != KEY_RESIZE) {
		top->shows_help = false;
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (keys[i].key == key) {
			keys[i].act(top);
			return;
		}
	}
}

/* --- the loop --------------------------------------------------------------------------------- */

/* Keys that wait; no more than a screenful of typing at a time. */
static void hear_keys(struct top *top)
{
	enum { KEYS_A_TURN = 256 };
	for (int i = 0; i < KEYS_A_TURN && !top->is_over; i++) {
		int key = getch();
		if (key == ERR) {
			return;
		}
		on_key(top, key);
	}
}

/* SIGWINCH comes only while this waits, so that none is overslept. False: the terminal is gone. */
static bool wait_for_news(const struct top *top, const sigset_t *during)
{
	struct pollfd polls[] = {{.fd = STDIN_FILENO, .events = POLLIN},
	                         {.fd = top_sampler_fd(top->sampler), .events = POLLIN}};
	(void)ppoll(polls, ARRAY_LEN(polls), NULL, during);
	return (polls[0].revents & (POLLHUP | POLLERR | POLLNVAL)) == 0;
}

static void loop(struct top *top)
{
	sigset_t resize;
	sigset_t before;
	struct top_answers answers;
	(void)sigemptyset(&resize);
	(void)sigaddset(&resize, SIGWINCH);
	(void)sigprocmask(SIG_BLOCK, &resize, &before);
	order(top);
	while (!top->is_over) {
		show(top);
		if (!wait_for_news(top, &before)) {
			break;
		}
		hear_keys(top);
		if (top_sampler_take(top->sampler, &answers)) {
			take(top, &answers);
		}
	}
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
}

static int run_live(struct top *top)
{
	SCREEN *terminal = open_terminal();
	if (!terminal) {
		const char *type = getenv("TERM");
		char text[64];
		(void)fprintf(
		        stderr,
		        "miredctl: top: no screen can be shown on a terminal of type \"%s\" (TERM);"
		        " -1 prints once, as text\n",
		        span_escape(span_of_str(type ? type : ""), text, sizeof text));
		return EXIT_FAILED;
	}
	int ret = top_sampler_start(&top->sampler, top->path);
	if (ret == 0) {
		loop(top);
		top_sampler_stop(top->sampler);
	}
	(void)endwin();
	delscreen(terminal);
	return ret ? call_complain("top", err_text(ret)) : EXIT_OK;
}

/* --- the call --------------------------------------------------------------------------------- */

static int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	if (!text) {
		return 0;
	}
	int ret = span_to_u64(span_of_str(text), max, out);
	return ret == 0 && *out < min ? ERR_RANGE : ret;
}

int run_top(const struct call *call)
{
	uint64_t delay_secs = DELAY_DEFAULT_SECS;
	uint64_t n_rows = 0;
	if (parse_number(call->delay, 1, DELAY_MAX_SECS, &delay_secs) != 0) {
		(void)call_complain("-d", "it takes seconds, 1 to 60");
		return EXIT_USAGE;
	}
	if (parse_number(call->n_rows, 1, ROWS_MAX, &n_rows) != 0) {
		(void)call_complain("-n", "it takes a number of rows, 1 to 100");
		return EXIT_USAGE;
	}
	struct top *top = calloc(1, sizeof *top);
	if (!top) {
		return call_complain("top", err_text(-ENOMEM));
	}
	top->delay_secs = (unsigned)delay_secs;
	top->rows_wanted = n_rows;
	int status = EXIT_FAILED;
	if (call_find_socket(call, top->path, sizeof top->path) == 0) {
		bool is_live = !call->is_once && isatty(STDOUT_FILENO) && isatty(STDIN_FILENO);
		status = is_live ? run_live(top) : run_once(top);
	}
	top_answers_fini(&top->now);
	top_answers_fini(&top->before);
	free(top);
	return status;
}
