/* Steps a generated model over recorded samples, on any machine, real or emulated.

   in.bin has records of: flags (uint32), the state from FIRST_MEMBER to before `faults` (raw), inputs, elapsed.
   out.bin gets the state's size, and a record each of: status, faults, stack in bytes (uint32), outputs, state (raw). */

#include <stddef.h>
#include "io.h"
#include "under_test.h"

enum { RESET = 1, SET_STATE = 2, MEASURE_STACK = 4 };

#ifndef FIRST_MEMBER
#define FIRST_MEMBER hidden
#endif
enum { FIRST = offsetof(model_state, FIRST_MEMBER), STATE_BYTES = offsetof(model_state, faults) - FIRST };

#ifndef STACK_RANGE
#define STACK_RANGE 32768 /* bytes below the caller that are watched */
#endif
#define STACK_MARGIN 64 /* for the painting function itself */

static struct {
    uint32_t flags;
    unsigned char state[STATE_BYTES];
    float inputs[MODEL_INPUTS];
    float elapsed;
} given;

static struct {
    uint32_t status, faults, stack;
    float outputs[MODEL_OUTPUTS];
    unsigned char state[STATE_BYTES];
} found;

static model_state state;

static unsigned char *stack_pointer(void)
{
    unsigned char *sp;
#if defined(__x86_64__)
    __asm__ volatile("mov %%rsp, %0" : "=r"(sp));
#elif defined(__riscv)
    __asm__ volatile("mv %0, sp" : "=r"(sp));
#else
    __asm__ volatile("mov %0, sp" : "=r"(sp));
#endif
    return sp;
}

__attribute__((noinline)) static void paint(volatile unsigned char *from, volatile unsigned char *to)
{
    while (from < to)
        *from++ = 0xa5;
}

__attribute__((noinline)) static uint32_t painted(volatile unsigned char *from, volatile unsigned char *to)
{
    volatile unsigned char *at = from;
    while (at < to && *at == 0xa5)
        at++;
    return (uint32_t)(at - from);
}

/* The emulator counts instructions from the entry of model_step to here. */
__attribute__((noinline)) void after_step(void);
__attribute__((noinline)) void after_step(void)
{
    __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) static void step(void)
{
    unsigned char *sp = stack_pointer();
    if (given.flags & MEASURE_STACK)
        paint(sp - STACK_RANGE, sp - STACK_MARGIN);
    found.status = (uint32_t)model_step(&state, given.inputs, given.elapsed, found.outputs);
    after_step();
    found.stack = given.flags & MEASURE_STACK ? STACK_RANGE - painted(sp - STACK_RANGE, sp - STACK_MARGIN) : 0;
}

static void move(const unsigned char *from, unsigned char *to)
{
    for (int i = 0; i < STATE_BYTES; i++)
        to[i] = from[i];
}

int main(void)
{
    uint32_t size = sizeof state;
    io_open();
    io_write(&size, sizeof size);
    model_init(&state);
    while (io_read(&given, sizeof given)) {
        if (given.flags & RESET)
            model_init(&state);
        if (given.flags & SET_STATE)
            move(given.state, (unsigned char *)&state + FIRST);
        step();
        found.faults = state.faults;
        move((const unsigned char *)&state + FIRST, found.state);
        io_write(&found, sizeof found);
    }
    io_close();
    return 0;
}
