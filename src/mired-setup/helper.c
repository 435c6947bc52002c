/* A helper ends when its channel does, never by a signal meant for the program. */
#include "mired-setup/helper.h"

#include <signal.h>
#include <unistd.h>

#include "base/compiler.h"

void helper_begin(int channel)
{
	static const int ignored[] = {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	for (size_t i = 0; i < ARRAY_LEN(ignored); i++) {
		(void)signal(ignored[i], SIG_IGN);
	}
	if (channel > STDERR_FILENO + 1) {
		(void)close_range(STDERR_FILENO + 1, (unsigned)channel - 1, 0);
	}
	(void)close_range((unsigned)channel + 1, ~0U, 0);
}
