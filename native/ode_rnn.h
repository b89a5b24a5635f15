// ODE-RNN cells (arXiv 1907.03907): dh/dt = V tanh(U h + b) + c by explicit solvers, then a GRU updates the state with
// the sample; lanes over the batch.
//
// The field depends on the state only by z = U h + b, and z follows dz/dt = W tanh z + e with W = U V, e = U c. So the
// stages use z, with one matrix product each instead of two, and sum up S, the integral of a = tanh z. The new state is
// h + V S + c span.
//
// With g the gradient of z at a step's end (see stages.h), that of k_j is d m_j, m_j = w_j g + c_(j+1) times the
// gradient of y_(j+1); that of a_j is d q_j, q_j = W' m_j + w_j times the gradient of S; and d's is sum q_j a_j + m_j e.
#pragma once

#include "dense.h"
#include "gru.h"
#include "kernels.h"
#include "math.h"
#include "rows.h"
#include "stages.h"

namespace torchliquid::TORCHLIQUID_ISA {

// sum[i][k] += sum over j of a[i][j] b[j][k]; a is read with these strides.
inline void add_product(float* sum, const float* a, int64_t row_stride, int64_t column_stride, const float* b, int rows,
                        int inner, int columns) {
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < inner; ++j)
      for (int k = 0; k < columns; ++k)
        sum[int64_t(i) * columns + k] += a[i * row_stride + j * column_stride] * b[int64_t(j) * columns + k];
}

template <int NV>
struct OdeRnnCell {
  static constexpr int L = NV * kWidth;
  const OdeRnn& p;
  int H, C;
  Stages stages;
  int calls;  // of the field, a sample
  float *w, *e, *out_turned;  // W, e, and V transposed
  float *hidden, *out, *coupling, *hidden_back = nullptr, *out_back = nullptr, *coupling_back = nullptr;
  GruUpdate<NV> update;
  int64_t parameters, forward_rows, slot_rows, backward_rows, block_rows;

  OdeRnnCell(const OdeRnn& problem, Arena& plan, bool backward)
      : p(problem),
        H(problem.sequence.units),
        C(problem.sequence.inputs),
        stages(stages_of(problem.solver)),
        calls(problem.unfolds * stages.count),
        update(problem.update, problem.sequence, plan, backward) {
    w = plan.take(int64_t(H) * H);
    e = plan.take(H);
    out_turned = plan.take(int64_t(H) * H);
    for (float** map : {&hidden, &out, &coupling}) *map = plan.take(packed_size<NV>(H, H));
    if (backward)
      for (float** map : {&hidden_back, &out_back, &coupling_back}) *map = plan.take(packed_size<NV>(H, H));
    parameters = int64_t(2 * H) * (H + 1) + update.parameters;
    // A slot: the GRU's; the state; S; the gradients of V S, c and z; of each call a, and the gradient
    // of k.
    slot_rows = update.slot_rows + int64_t(5 + 2 * calls) * H;
    forward_rows = update.slot_rows + 6 * H;
    backward_rows = 6 * H;
    block_rows = (int64_t(H) * (H + 1) + L - 1) / L;
  }

  void fill(bool backward) {
    memset(w, 0, sizeof(float) * H * H);
    memset(e, 0, sizeof(float) * H);
    add_product(w, p.hidden, H, 1, p.out, H, H, H);
    add_product(e, p.hidden, H, 1, p.out_bias, H, H, 1);
    update.fill(backward);
    pack<NV>(hidden, p.hidden, p.hidden_bias, H, H, H, 1);
    pack<NV>(out, p.out, nullptr, H, H, H, 1);
    pack<NV>(coupling, w, e, H, H, H, 1);
    if (!backward) return;
    pack<NV>(hidden_back, p.hidden, nullptr, H, H, 1, H);
    pack<NV>(out_back, p.out, nullptr, H, H, 1, H);
    pack<NV>(coupling_back, w, nullptr, H, H, 1, H);
    for (int i = 0; i < H; ++i)
      for (int j = 0; j < H; ++j) out_turned[int64_t(j) * H + i] = p.out[int64_t(i) * H + j];
  }

  // Rows of a slot after the GRU's.
  float* row(float* slot, int i) const { return slot + (update.slot_rows + int64_t(i) * H) * L; }
  float* state(float* slot) const { return row(slot, 0); }
  float* integral(float* slot) const { return row(slot, 1); }
  float* to_moved(float* slot) const { return row(slot, 2); }
  float* to_out_bias(float* slot) const { return row(slot, 3); }
  float* to_z(float* slot) const { return row(slot, 4); }
  float* bounded(float* slot, int call) const { return row(slot, 5 + 2 * call); }
  float* to_k(float* slot, int call) const { return row(slot, 6 + 2 * call); }

  // From h to the state at the sample. `slot` is null if a is not stored. Rows of work: z, k, sum of w k, a.
  void move(const float* h, const float* span, float* integral, float* moved, float* slot, float* work) const {
    const int size = H * L;
    float *z = work, *k = z + size, *total = k + size;
    V d[NV];
    for (int v = 0; v < NV; ++v) d[v] = load(span + v * kWidth) / float(p.unfolds);
    dense<NV>(z, h, hidden, H, H);
    memset(integral, 0, sizeof(float) * size);
    for (int call = 0, unfold = 0; unfold < p.unfolds; ++unfold) {
      memset(total, 0, sizeof(float) * size);
      for (int j = 0; j < stages.count; ++j, ++call) {
        float* a = slot ? bounded(slot, call) : total + size;
        for (int i = 0; i < size; i += L)
          for (int v = 0, at = i; v < NV; ++v, at += kWidth) {
            V y = load(z + at);
            if (j > 0) {
              V rate = load(k + at);
              y += stages.reach[j] * d[v] * rate;
              store(total + at, load(total + at) + stages.weight[j - 1] * rate);
            }
            V bound = tanh(y);
            store(a + at, bound);
            store(integral + at, load(integral + at) + stages.weight[j] * bound);
          }
        if (call + 1 < calls) dense<NV>(k, a, coupling, H, H);
      }
      for (int i = 0; unfold + 1 < p.unfolds && i < size; i += L)
        for (int v = 0, at = i; v < NV; ++v, at += kWidth)
          store(z + at, load(z + at) + d[v] * (load(total + at) + stages.weight[stages.count - 1] * load(k + at)));
    }
    for (int i = 0; i < size; i += L)
      for (int v = 0, at = i; v < NV; ++v, at += kWidth) store(integral + at, d[v] * load(integral + at));
    dense<NV>(moved, integral, out, H, H);
    for (int i = 0; i < H; ++i)
      for (int v = 0, at = i * L; v < NV; ++v, at += kWidth)
        store(moved + at, load(moved + at) + load(h + at) + p.out_bias[i] * load(span + v * kWidth));
  }

  void forward(const Block<NV>&, int, const float* x, const float* h, const float* span, float* next, float* work) const {
    float *slot = work, *integral = slot + update.slot_rows * L;
    memcpy(update.input(slot), x, sizeof(float) * C * L);
    move(h, span, integral, update.state(slot), nullptr, integral + H * L);
    update.forward(slot, next);
  }
  void recompute(const Block<NV>&, int, const float* x, const float* h, const float* span, float* slot, float* work) const {
    memcpy(update.input(slot), x, sizeof(float) * C * L);
    memcpy(state(slot), h, sizeof(float) * H * L);
    move(h, span, integral(slot), update.state(slot), slot, work);
    update.forward(slot, work);
  }

  // Sums of a block: the gradients of W and e, from which those of U, V and c are computed at the end.
  void begin(float* block_state) const { memset(block_state, 0, sizeof(float) * block_rows * L); }
  void finish(float* to_w, float* to_hidden) const {
    const float* to_e = to_w + int64_t(H) * H;
    float *to_out = to_hidden + int64_t(H) * (H + 1), *to_out_bias = to_out + int64_t(H) * H;
    add_product(to_hidden, to_w, H, 1, out_turned, H, H, H);
    add_product(to_hidden, to_e, 1, 1, p.out_bias, H, 1, H);
    add_product(to_out, p.hidden, 1, H, to_w, H, H, H);
    add_product(to_out_bias, p.hidden, 1, H, to_e, H, H, 1);
  }

  void backward(const float*, const float*, const float* span, float* slot, float* grad_out, float* grad_x, float* grad_h,
                float* grad_span, float* work, float*) const {
    const int size = H * L;
    float *to_sum = work, *to_y = to_sum + size, *m = to_y + size, *back = m + size, *total = back + size;
    float *g = to_z(slot), *moved = to_moved(slot), *timed = to_out_bias(slot);
    update.backward(slot, grad_out, grad_x, moved, back);
    dense<NV>(to_sum, moved, out_back, H, H);
    V d[NV], to_d[NV] = {}, to_span[NV] = {};
    for (int v = 0; v < NV; ++v) d[v] = load(span + v * kWidth) / float(p.unfolds);
    for (int i = 0; i < H; ++i)
      for (int v = 0, at = i * L; v < NV; ++v, at += kWidth) {
        V own = load(moved + at);
        to_span[v] += p.out_bias[i] * own;
        store(timed + at, load(span + v * kWidth) * own);
      }
    memset(g, 0, sizeof(float) * size);
    for (int call = calls - 1, unfold = 0; unfold < p.unfolds; ++unfold) {
      memset(total, 0, sizeof(float) * size);  // added to g after all stages have read it
      for (int j = stages.count - 1; j >= 0; --j, --call) {
        const float* a = bounded(slot, call);
        if (call + 1 < calls) {
          float* scaled = to_k(slot, call);
          for (int i = 0; i < H; ++i)
            for (int v = 0, at = i * L; v < NV; ++v, at += kWidth) {
              V own = stages.weight[j] * load(g + at);
              if (j + 1 < stages.count) own += stages.reach[j + 1] * load(to_y + at);
              to_d[v] += e[i] * own;
              store(m + at, own);
              store(scaled + at, d[v] * own);
            }
          dense<NV>(back, m, coupling_back, H, H);
        } else {
          memset(back, 0, sizeof(float) * size);
        }
        for (int i = 0; i < size; i += L)
          for (int v = 0, at = i; v < NV; ++v, at += kWidth) {
            V bound = load(a + at), q = load(back + at) + stages.weight[j] * load(to_sum + at);
            V own = d[v] * q * (1.0f - bound * bound);
            to_d[v] += q * bound;
            store(to_y + at, own);
            store(total + at, load(total + at) + own);
          }
      }
      for (int at = 0; at < size; at += kWidth) store(g + at, load(g + at) + load(total + at));
    }
    for (int v = 0; v < NV; ++v) store(grad_span + v * kWidth, to_span[v] + to_d[v] / float(p.unfolds));
    dense<NV>(grad_h, g, hidden_back, H, H);
    for (int at = 0; at < size; at += kWidth) store(grad_h + at, load(grad_h + at) + load(moved + at));
  }

  void accumulate(float* slots, int64_t stride, int steps, float* gradients, float* to_w, float* turned) const {
    auto add = [&](const float* grad, const float* in, const float* bias) {
      outer<NV>(gradients, grad, H, in, H, stride, steps, turned);
      gradients += int64_t(H) * H;
      add_lane_sums<NV>(gradients, bias, H, stride, steps);
      gradients += H;
    };
    add(to_z(slots), state(slots), to_z(slots));
    add(to_moved(slots), integral(slots), to_out_bias(slots));
    for (int call = 0; call + 1 < calls; ++call) {
      outer<NV>(to_w, to_k(slots, call), H, bounded(slots, call), H, stride, steps, turned);
      add_lane_sums<NV>(to_w + int64_t(H) * H, to_k(slots, call), H, stride, steps);
    }
    update.accumulate(slots, stride, steps, gradients, turned);
  }
};

}  // namespace torchliquid::TORCHLIQUID_ISA
