/* A detector on the device: samples go in, the answers and whether the alarm is on come out.

   in.bin has records of: reset (uint32), inputs, elapsed (float32). out.bin gets the state's size, and a record each of:
   answers (float32), alarm (uint32). */

#include "io.h"
#include "model.h"

static struct {
    uint32_t reset;
    float inputs[MODEL_INPUTS], elapsed;
} given;

static struct {
    float answers[MODEL_OUTPUTS];
    uint32_t alarm;
} found;

/* The emulator counts instructions from the entry of model_step to here. */
__attribute__((noinline)) void after_step(void);
__attribute__((noinline)) void after_step(void)
{
    __asm__ volatile("" ::: "memory");
}

int main(void)
{
    static model_state state;
    uint32_t size = sizeof state;
    io_open();
    io_write(&size, sizeof size);
    while (io_read(&given, sizeof given)) {
        if (given.reset)
            model_init(&state);
        model_step(&state, given.inputs, given.elapsed, found.answers);
        after_step();
        found.alarm = (uint32_t)model_alarm(&state);
        io_write(&found, sizeof found);
    }
    io_close();
    return 0;
}
