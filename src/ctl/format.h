/* JSON figures as text for people. Knows no key: sections, names and units follow from the object
 * itself, so a new figure needs nothing here. Pure but for `out`. */
#pragma once

#include <jansson.h>
#include <stdio.h>

/* Members that are no objects first, then each object as a section; deeper ones as "a, b" names.
 * A name ending in _secs, _ms or _bytes loses the ending and its number gets the unit. At most
 * 1024 figures. A list of objects in a section is a line an object, wrapped at 80 columns: the
 * value of its first member, then the others, "FIRST: NAME VALUE, NAME NAME VALUE NAME VALUE";
 * empty texts and objects are left out. object is borrowed; keys and strings are escaped. */
void format_figures(json_t *object, FILE *out);
