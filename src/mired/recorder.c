/* The file is written aside, made durable and renamed: after a kill or a power cut it is the old
 * one or the new one. */
#include "mired/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/textfile.h"
#include "mired/report.h"

enum { SAVE_MS = 60000, PATH_BYTES = 512, MODE_FILE = 0640 };

#define FILE_NAME      "report"
#define TEMPORARY_NAME ".report.new"
#define BAD_NAME       "report.bad"

struct recorder {
	struct engine *engine;
	const struct counters *control;
	struct report *report;
	const char *state_dir; /* borrowed from the configuration */
	struct mono save_at;
	bool is_failing; /* said in the log; its end is said, too */
};

/* --- the file --------------------------------------------------------------------------------- */

/* What will be written must not take the place of what could not be read: it may be mended. */
static void set_aside(const struct recorder *recorder, const char *path)
{
	char aside[PATH_BYTES];
	(void)snprintf(aside, sizeof aside, "%s/" BAD_NAME, recorder->state_dir);
	if (renameat(AT_FDCWD, path, AT_FDCWD, aside) < 0) {
		log_error("report: %s cannot be kept as " BAD_NAME ": %s", path, err_text(-errno));
	}
}

static void load(struct recorder *recorder)
{
	char path[PATH_BYTES];
	char why[TEXTFILE_WHY_MAX];
	struct textfile file;
	(void)snprintf(path, sizeof path, "%s/" FILE_NAME, recorder->state_dir);
	if (textfile_read(path, true, &file, why) != 0) {
		log_error("report: begins anew: %s; the file is kept as " BAD_NAME, why);
		set_aside(recorder, path);
		return;
	}
	size_t n_refused = report_parse(recorder->report, span_of(file.bytes, file.len));
	if (n_refused > 0) {
		log_error("report: %s is damaged: %zu rows taken, %zu lines not; the file is kept "
		          "as " BAD_NAME,
		          path, report_count(recorder->report), n_refused);
		set_aside(recorder, path);
	}
	textfile_fini(&file);
}

static int write_file(const struct recorder *recorder)
{
	char *text;
	size_t len;
	int ret = report_print(recorder->report, &text, &len);
	if (ret != 0) {
		return ret;
	}
	int dir = open(recorder->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		ret = -errno;
	} else {
		const struct span part = span_of(text, len);
		ret = file_replace(&(struct file_place){dir, FILE_NAME, TEMPORARY_NAME, MODE_FILE},
		                   &part, 1);
		(void)close(dir);
	}
	free(text);
	return ret;
}

/* One line when it begins to fail and one when it works again. */
static void save(struct recorder *recorder)
{
	int ret = write_file(recorder);
	if (ret != 0 && !recorder->is_failing) {
		log_error("report: %s/" FILE_NAME " cannot be written: %s", recorder->state_dir,
		          err_text(ret));
	} else if (ret == 0 && recorder->is_failing) {
		log_info("report: %s/" FILE_NAME " is written again", recorder->state_dir);
	}
	recorder->is_failing = ret != 0;
}

/* --- readings --------------------------------------------------------------------------------- */

static void read_counters(struct recorder *recorder)
{
	struct engine_figures figures;
	engine_figures_get(recorder->engine, &figures);
	const struct counters *totals = &figures.totals;
	uint64_t passed = counters_get(recorder->control, COUNTER_connections_passed);
	struct report_reading reading = {
	        .offered = counters_get(totals, COUNTER_accepted) + passed,
	        .deferred = counters_get(totals, COUNTER_deferred),
	        .passed = passed,
	        .trapped = counters_get(totals, COUNTER_hosts_trapped),
	        .tarpit_secs = counters_get(totals, COUNTER_tarpit_seconds),
	};
	report_read(recorder->report, &reading, clock_wall());
}

static void sample_load(struct recorder *recorder)
{
	double load;
	if (getloadavg(&load, 1) == 1 && load >= 0 && load < 1e6) {
		report_add_load(recorder->report, (uint32_t)(load * 1000));
	}
}

void recorder_turn(struct recorder *recorder, struct mono now)
{
	if (now.ns < recorder->save_at.ns && !report_is_row_over(recorder->report, clock_wall())) {
		return;
	}
	read_counters(recorder);
	sample_load(recorder);
	save(recorder);
	recorder->save_at = mono_add_ms(now, SAVE_MS);
}

int recorder_open(struct recorder **out, const struct conf *conf, struct engine *engine,
                  const struct counters *control)
{
	struct recorder *recorder = calloc(1, sizeof *recorder);
	struct report *report = report_new((uint32_t)conf->report_interval_secs);
	if (!recorder || !report) {
		free(recorder);
		report_free(report);
		return -ENOMEM;
	}
	*recorder = (struct recorder){.engine = engine,
	                              .control = control,
	                              .report = report,
	                              .state_dir = conf->state_dir,
	                              .save_at = mono_add_ms(clock_mono(), SAVE_MS)};
	load(recorder);
	*out = recorder;
	return 0;
}

void recorder_close(struct recorder *recorder)
{
	if (recorder) {
		read_counters(recorder);
		save(recorder);
		report_free(recorder->report);
		free(recorder);
	}
}

/* --- the answer ------------------------------------------------------------------------------- */

/* Without a sample (the machine does not tell its load, or the row is a second old): null. */
static json_t *load_json(const struct report_row *row)
{
	return row->n_loads > 0 ? json_real((double)row->load_milli / (double)row->n_loads / 1000)
	                        : json_null();
}

static json_t *row_json(const struct report_row *row)
{
	const struct report_reading *sums = &row->sums;
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "time", (json_int_t)row->began.secs,
	                 "secs", (json_int_t)row->secs, "offered", (json_int_t)sums->offered,
	                 "deferred", (json_int_t)sums->deferred, "passed", (json_int_t)sums->passed,
	                 "trapped", (json_int_t)sums->trapped, "tarpitted",
	                 (json_int_t)sums->tarpit_secs, "load", load_json(row));
}

json_t *recorder_json(struct recorder *recorder, size_t n)
{
	json_t *rows = json_array();
	recorder_turn(recorder, clock_mono()); /* saves what a new row ends */
	read_counters(recorder);
	size_t n_rows = report_count(recorder->report);
	for (size_t i = n < n_rows ? n_rows - n : 0; i < n_rows; i++) {
		(void)json_array_append_new(rows, row_json(report_row(recorder->report, i)));
	}
	return json_pack("{s:o}", "rows", rows);
}
