/* See finding.h. */
#include "verify/finding.h"

const char *severity_name(enum severity severity)
{
	static const char *const names[] = {[SEVERITY_ERROR] = "error",
	                                    [SEVERITY_WARNING] = "warning",
	                                    [SEVERITY_NOTE] = "note"};
	return names[severity];
}
