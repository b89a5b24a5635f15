// The problems that the kernels solve, as plain data, independent of the instruction set.
//
// Sizes: B batch, T time, C inputs, H units, S synapses. Matrices are row-major.
#pragma once

#include <cstddef>
#include <cstdint>

namespace torchliquid {

// A batch of sequences and the state, for all recurrences. Comments say which pointers may be null.
struct Sequence {
  int batch, time, inputs, units;
  const float* input;        // (B, T, C)
  const float* timespan;     // (B, T)
  const float* state;        // (B, H)
  const int64_t* lengths;    // (B,) or null: all of it
  const float* drive;        // (B, T, 4H), null without memory
  const float* memory;       // (4H, H), null without memory
  const float* cell;         // (B, H), null without memory
  const float* reset;        // (B, T), not 0 where the state is zero before the sample; null: nowhere
  float* states;             // (B, T, H): written forward, read backward
  float* cells;              // (B, T, H), null without memory

  // Backward only.
  const float* grad_states;  // (B, T, H)
  const float* grad_cells;   // (B, T, H), null without memory
  float* grad_input;         // (B, T, C), null where not wanted
  float* grad_timespan;      // (B, T), null where not wanted
  float* grad_state;         // (B, H)
  float* grad_drive;         // (B, T, 4H), null without memory
  float* grad_cell;          // (B, H), null without memory
};

struct Synapses {
  int count;
  const float *weight, *mu, *sigma, *erev;  // (S,) each
  const int64_t *source, *target;           // (S,) each, ordered by target
};

// Gradients of the parameters: weight, mu, sigma, erev (S each), the same of the sensory synapses, gleak, vleak,
// cm (H each), memory (4H * H).
struct Ltc {
  Sequence sequence;
  const float *gleak, *vleak, *cm;  // (H,) each
  Synapses synapses, sensory;
  int unfolds;
  float epsilon;
};

// A linear map of one sample.
struct Linear {
  int inputs, outputs;
  const float *weight, *bias;  // (outputs, inputs), (outputs,)
};

// LSTM (gates input, forget, cell, output) or GRU (reset, update, and the parts of new from the inputs and from the
// state), with the weights for inputs and state next to each other: (4H, C + H) and (4H,).
struct Gated {
  int inputs, units;
  bool lstm;
  const float *weight, *bias;
};

constexpr int kMaxLayers = 64;

enum class Mode : int { standard, no_gate, pure };

// Gradients of the parameters: weight and bias of each backbone layer, then of each layer's heads (and w_tau and
// amplitude in mode pure), memory.
struct Cfc {
  Sequence sequence;
  const float* common_span;  // the span of all samples, null if they differ
  Mode mode;
  int activation;
  int backbone_layers;
  int backbone_units[kMaxLayers];
  const float *backbone_weight[kMaxLayers], *backbone_bias[kMaxLayers];
  const float* dropout[kMaxLayers];  // (B, T, U) each, null for none
  int layers;
  int layer_units[kMaxLayers];
  const float *head_weight[kMaxLayers], *head_bias[kMaxLayers];
  const float *w_tau[kMaxLayers], *amplitude[kMaxLayers];  // mode pure only
};

enum class Solver : int { euler, rk4 };

// Gradients of the parameters: drive (H * C), recurrent (H * H), bias, and with a leak rate (H each), memory.
struct Ctrnn {
  Sequence sequence;
  const float *drive, *recurrent, *bias;  // (H, C), (H, H), (H,)
  const float* rate;                      // (H,), null for no leak
  Solver solver;
  int unfolds;
};

// A GRU cell's weights for inputs and state, (3H, C) and (3H, H), and their biases: reset, keep, new.
struct Gru {
  const float *input, *state, *input_bias, *state_bias;
};

// The field is out tanh(hidden h + hidden_bias) + out_bias.
// Gradients of the parameters: weight and bias of hidden and of out, then the update's, in its order.
struct OdeRnn {
  Sequence sequence;
  const float *hidden, *hidden_bias, *out, *out_bias;  // (H, H) and (H,) each
  Gru update;
  Solver solver;
  int unfolds;
};

// The state is the traces, with those of one unit next to each other: U = sequence.units / scales.
// Gradients of the parameters: weight and bias of the gates, then of the signal.
struct Ctgru {
  Sequence sequence;
  int scales;
  const float *gates, *gates_bias;    // (2U, C + U), (2U,): reading, storing
  const float *signal, *signal_bias;  // (U, C + U), (U,)
};

// The 2H inputs are the sums of the input synapses for each neuron's resistance and drive.
// Gradients of the parameters: w, k, mu, sigma, vleak, weight, bias, shift (H each).
struct LrcSsm {
  Sequence sequence;
  const float *w, *k, *mu, *sigma, *vleak, *weight, *bias;  // (H,) each
  const float* shift;                                       // (H,), null for a plain elastance
  bool exponential;
};

// N complex states for each of W channels, with real parts (N, W) before imaginary parts; `read` has negative imaginary
// parts. P packed samples: the first sample of each sequence, then the second ones, and so on; `sizes` has their
// numbers. The longest sequence comes first.
struct StateSpace {
  int64_t batch, time, states, width;
  const float *fading, *gain, *input, *read, *state;  // (K, 2, N, W), (2, N, W), (P, W), (2, N, W), (B, 2, N, W)
  const int64_t *which, *sizes;                        // (P,) into K, (T,)
  float *output, *last;                                // (P, W), (B, 2, N, W): written forward

  // Backward only. The gradients of fading, gain and read are added to.
  const float *grad_output, *grad_last;
  float *grad_fading, *grad_gain, *grad_input, *grad_read, *grad_state;
};

// One recurrence compiled for one instruction set and number of lanes per block. The caller provides the memory, which
// is 64-byte aligned: `plan` is made once per call and shared by all threads, `scratch` belongs to one thread.
template <class Problem>
struct Recurrence {
  int lanes;
  int64_t (*parameters)(const Problem&);  // how many gradients of parameters, with the memory's
  size_t (*plan_size)(const Problem&);    // in floats, as all sizes here
  size_t (*scratch_size)(const Problem&, bool backward);
  void (*make_plan)(const Problem&, float* plan, bool backward);
  void (*forward)(const Problem&, const float* plan, float* scratch, int block);
  void (*backward)(const Problem&, const float* plan, float* scratch, int block, float* grad_parameters);
};

// One recurrence for one sample of one stream. An object is plain memory of one thread. Plan and scratch are as above,
// and `fill` says whether the plan must still be made. `run` replaces h, and c if there is one, by the new state.
template <class Problem>
struct Step {
  size_t object_size;
  void (*sizes)(const Problem&, size_t* plan, size_t* scratch);
  void (*make)(void* object, const Problem&, float* plan, float* scratch, bool fill);
  void (*run)(const void* object, const float* x, float span, float* h, float* c);
};

struct InstructionSet {
  const char* name;
  int64_t (*multiply_adds)(int64_t repeats);  // runs only multiply-adds and returns their number
  Recurrence<Ltc> ltc[2];  // few lanes, many lanes
  Recurrence<Cfc> cfc[2];
  Recurrence<Ctrnn> ctrnn[2];
  Recurrence<Ctgru> ctgru[2];
  Recurrence<OdeRnn> ode_rnn[2];
  Recurrence<LrcSsm> lrcssm[2];
  void (*state_space_forward)(const StateSpace&);
  void (*state_space_backward)(const StateSpace&);
  Step<Ltc> step_ltc;
  Step<Cfc> step_cfc;
  Step<Gated> step_gated;
  Step<Linear> step_linear;
};

}  // namespace torchliquid
