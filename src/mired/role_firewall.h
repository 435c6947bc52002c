/* The firewall role: the one process that changes the packet filter. It keeps table, sets, elements
 * and chains as the engine and the configuration say, and puts them back when somebody removes
 * them. It holds CAP_NET_ADMIN and nothing else. */
#pragma once

/* Runs the role on its channel to the supervisor; returns the exit status (enum role_exit). */
int role_firewall_main(int supervisor_fd);
