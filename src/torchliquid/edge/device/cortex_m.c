/* A Cortex-M without anything around it: start-up, and files by Arm semihosting, which QEMU serves. */

#include <stdint.h>
#include "io.h"

enum { SYS_OPEN = 0x01, SYS_CLOSE = 0x02, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT = 0x18 };
enum { READ_BINARY = 1, WRITE_BINARY = 5, BUFFER = 1024 };

extern unsigned char stack_top[];
int main(void);
void reset(void);
static void fault(void);

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[] = {
    (uintptr_t)stack_top, (uintptr_t)reset, (uintptr_t)fault, (uintptr_t)fault,
};

static int semihosting(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

__attribute__((noreturn)) static void stop(uint32_t reason)
{
    for (;;)
        semihosting(SYS_EXIT, (const void *)(uintptr_t)reason);
}

static void fault(void)
{
    stop(0x20023u); /* run-time error */
}

void reset(void)
{
#if defined(__ARM_FP)
    *(volatile uint32_t *)0xe000ed88u |= 0xfu << 20; /* let the program use the floating-point unit */
    __asm__ volatile("dsb\n isb");
#endif
    main();
    stop(0x20026u); /* ended well */
}

static uint32_t in, out, filled, taken, size;
static unsigned char from_file[BUFFER], to_file[BUFFER];

static uint32_t open(const char *name, uint32_t mode)
{
    uint32_t arguments[3] = {(uint32_t)(uintptr_t)name, mode, 0};
    while (name[arguments[2]])
        arguments[2]++;
    return (uint32_t)semihosting(SYS_OPEN, arguments);
}

void io_open(void)
{
    in = open("in.bin", READ_BINARY);
    out = open("out.bin", WRITE_BINARY);
}

static void flush(void)
{
    uint32_t arguments[3] = {out, (uint32_t)(uintptr_t)to_file, filled};
    if (filled)
        semihosting(SYS_WRITE, arguments);
    filled = 0;
}

int io_read(void *to, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        if (taken == size) {
            uint32_t arguments[3] = {in, (uint32_t)(uintptr_t)from_file, BUFFER};
            size = BUFFER - (uint32_t)semihosting(SYS_READ, arguments);
            taken = 0;
            if (size == 0)
                return 0;
        }
        ((unsigned char *)to)[i] = from_file[taken++];
    }
    return 1;
}

void io_write(const void *from, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        to_file[filled++] = ((const unsigned char *)from)[i];
        if (filled == BUFFER)
            flush();
    }
}

void io_close(void)
{
    flush();
    semihosting(SYS_CLOSE, &in);
    semihosting(SYS_CLOSE, &out);
}
