/* The engine role: takes what the supervisor opened, gives up every right, then runs the engine and
 * the control socket. */
#pragma once

/* Runs the role on its channel to the supervisor; returns the exit status (enum role_exit). */
int role_engine_main(int supervisor_fd);
