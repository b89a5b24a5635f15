/* What libFuzzer drives: any bytes as samples, saved states and times. The state must stay finite, statuses must be
   known, and saving and restoring must agree. */

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

static void demand(int good)
{
    if (!good)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    model_state state, other;
    uint8_t saved[MODEL_SAVED_BYTES];
    float sample[MODEL_INPUTS + 1], outputs[MODEL_OUTPUTS];
    uint32_t before = 0;
    model_init(&state);
    if (size >= sizeof saved) {
        memcpy(saved, data, sizeof saved);
        other = state;
        if (model_restore(&other, saved) == MODEL_REFUSED)
            demand(memcmp(&other, &state, sizeof state) == 0);
    }
    while (size >= sizeof sample) {
        memcpy(sample, data, sizeof sample);
        data += sizeof sample;
        size -= sizeof sample;
        int status = model_step(&state, sample, sample[MODEL_INPUTS], outputs);
        demand((status & ~(MODEL_HELD | MODEL_SPAN | MODEL_KEPT | MODEL_RANGE | MODEL_GAP | MODEL_CLIPPED)) == 0);
        demand(((status & ~MODEL_CLIPPED) != 0) == (state.faults > before));
        demand(((status & (MODEL_HELD | MODEL_RANGE)) != 0) == (state.faulty[0] != 0));
        before = state.faults;
        for (int i = 0; i < MODEL_OUTPUTS; i++)
            demand(isfinite(outputs[i]));
        for (size_t i = 0; i < sizeof state.hidden / sizeof *state.hidden; i++)
            demand(isfinite((float)state.hidden[i]));
    }
    model_save(&state, saved);
    demand(model_restore(&other, saved) == MODEL_OK);
    model_save(&other, saved);
    demand(model_restore(&state, saved) == MODEL_OK);
    return 0;
}
