/* SPDX-License-Identifier: MIT */
/* cmd.h: the verbs of the tool, and the three ways in which one can end. */
#ifndef TOOLS_CMD_H
#define TOOLS_CMD_H

enum { STATUS_DONE = 0, STATUS_FAILED = 1, STATUS_USAGE = 2 };

/* argv[0] is the verb. Each returns a STATUS_*; whatever is not STATUS_DONE has put exactly one line on standard error. */
int cmd_exec(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_races(int argc, char **argv);
int cmd_watch(int argc, char **argv); /* or the exit status of what it ran */

#endif
