/* The sections of the screen: named lines of figures, a row of a table each. Pure. */
#pragma once

#include "miredctl/held_text.h"
#include "miredctl/top_screen.h"

size_t top_n_sections(void);
const char *top_section_name(size_t section);
/* Worth a line only where there is room in plenty. */
bool top_section_is_extra(size_t section);
/* The idx-th figure as "NAME VALUE" (its unit included). False: the section has no more. "" is one
 * that is left out. */
bool top_figure(const struct top_view *view, size_t section, size_t idx,
                char out[static TEXT_ROW_MAX]);
/* The idx-th of the things that need the administrator's attention at present, in words. False:
 * there are no more. */
bool top_attention(const struct top_view *view, size_t idx, const char **out);
