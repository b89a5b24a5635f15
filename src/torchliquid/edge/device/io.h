/* The two files of a replay. */

#ifndef IO_H
#define IO_H

void io_open(void);
int io_read(void *to, unsigned bytes); /* 1, or 0 at the end of the file */
void io_write(const void *from, unsigned bytes);
void io_close(void);

#endif
