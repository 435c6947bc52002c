/* What the forked helper processes have in common. */
#pragma once

/* Right after the fork, in the helper: nothing stays open but 0 to 2 and the channel to the
 * program, so that each helper sees the program's end at once and none can speak in another's
 * place; and the signals a terminal or an administrator sends are left to the program. */
void helper_begin(int channel);
