// Runs a cell over a block of sequences, forward and backward. All recurrences use it.
//
// A block is L = NV * kWidth sequences, one per lane. The forward pass stores only the states. The backward pass goes
// through time in chunks, from the end: it recomputes the steps of a chunk from the stored states, goes back through
// them, and then sums the weights' gradients for the whole chunk at once, which is most of the arithmetic.
//
// A Cell<NV> is a view of its plan with these members (a row is L floats; a slot holds what backward needs of a step):
//   forward_rows, slot_rows, backward_rows, block_rows           sizes in rows
//   a constructor (problem, plan, backward)                      reserves its part of the plan
//   parameters                                                   number of gradients, without those of a memory
//   fill(backward)                                               packs the weights into the plan
//   forward(block, t, x, h, span, out, work)
//   recompute(block, t, x, h, span, slot, work)
//   begin(block_state), finish(block_state, gradients)            around a block's backward
//   backward(x, h, span, slot, grad_out, grad_x, grad_h, grad_span, work, block_state)
//   accumulate(slot, stride, steps, gradients, block_state, turned)   turned: workspace, see dense.h
#pragma once

#include <cstring>

#include "kernels.h"
#include "memory.h"
#include "rows.h"

namespace torchliquid::TORCHLIQUID_ISA {

constexpr int64_t kChunkFloats = 128 * 1024;  // a chunk of slots stays in the second-level cache
constexpr int64_t kMaxChunk = 16;

template <int NV, class Cell, class Problem>
class Scan {
  static constexpr int L = NV * kWidth;
  const Sequence& s;
  Arena plan;
  Cell cell;
  Memory<NV> memory;

  // Offsets of a slot's parts, in floats.
  int64_t at_h, at_span, at_reset, at_memory, at_cell, stride;
  int chunk;

 public:
  Scan(const Problem& problem, float* plan_memory, bool backward)
      : s(problem.sequence), plan{plan_memory}, cell(problem, plan, backward), memory(s, plan, backward) {
    at_h = int64_t(s.inputs) * L;
    at_span = at_h + int64_t(s.units) * L;
    at_reset = at_span + L;
    at_memory = at_reset + (s.reset ? L : 0);
    at_cell = at_memory + memory.slot_rows * L;
    stride = at_cell + cell.slot_rows * L;
    // Steps a multiple of 4096 bytes apart would compete for the same lines of the first-level cache.
    if (stride % 1024 < 128) stride += 160;
    int64_t steps = kChunkFloats / stride;
    chunk = int(steps < 1 ? 1 : steps > kMaxChunk ? kMaxChunk : steps);
    if (chunk > s.time) chunk = s.time;
  }

  static int64_t parameters(const Problem& problem) {
    const Scan scan(problem, nullptr, true);
    return scan.cell.parameters + (scan.s.memory ? 4 * int64_t(scan.s.units) * scan.s.units : 0);
  }
  static size_t plan_size(const Problem& problem) { return Scan(problem, nullptr, true).plan.used; }
  static size_t scratch_size(const Problem& problem, bool backward) {
    Scan scan(problem, nullptr, backward);
    Arena arena{nullptr};
    backward ? void(BackwardWork(scan, arena)) : void(ForwardWork(scan, arena));
    return arena.used;
  }
  static void make_plan(const Problem& problem, float* memory, bool backward) {
    Scan scan(problem, memory, backward);
    scan.cell.fill(backward);
    scan.memory.fill(scan.s, backward);
  }
  static void forward(const Problem& problem, const float* plan, float* scratch, int block) {
    Scan(problem, const_cast<float*>(plan), false).run_forward(scratch, Block<NV>(problem.sequence, block));
  }
  static void backward(const Problem& problem, const float* plan, float* scratch, int block, float* gradients) {
    Scan(problem, const_cast<float*>(plan), true).run_backward(scratch, Block<NV>(problem.sequence, block), gradients);
  }

 private:
  void load_step(const Block<NV>& b, int t, float* slot) {
    b.load(slot, s.input, t, s.inputs);
    b.load(slot + at_span, s.timespan, t, 1);
    if (s.reset) b.load(slot + at_reset, s.reset, t, 1);
  }
  // Sets the rows of lanes to zero whose state is reset before the slot's step.
  void restart(const float* slot, float* rows) const {
    if (!s.reset) return;
    for (int v = 0; v < L; v += kWidth) {
      const I resets = load(slot + at_reset + v) > 0.0f;
      for (int i = v; i < s.units * L; i += L) store(rows + i, choose(resets, zero(), load(rows + i)));
    }
  }

  struct ForwardWork {
    float *slot, *h, *next, *c, *cell;
    ForwardWork(const Scan& scan, Arena& arena) {
      const int64_t state = int64_t(scan.s.units) * L;
      slot = arena.take(scan.stride);
      h = arena.take(state);
      next = arena.take(state);
      c = arena.take(scan.memory.active ? state : 0);
      cell = arena.take(scan.cell.forward_rows * L);
    }
  };

  // g means "gradient of"; `row` is workspace for values read from a tensor.
  struct BackwardWork {
    float *slots, *g, *gh, *gh_before, *gc, *gc_before, *gx, *gspan, *row, *cell, *block, *turned;
    BackwardWork(const Scan& scan, Arena& arena) {
      const int64_t state = int64_t(scan.s.units) * L;
      slots = arena.take(scan.chunk * scan.stride);
      for (float** rows : {&g, &gh, &gh_before, &row}) *rows = arena.take(state);
      for (float** rows : {&gc, &gc_before}) *rows = arena.take(scan.memory.active ? state : 0);
      gx = arena.take(int64_t(scan.s.inputs) * L);
      gspan = arena.take(L);
      cell = arena.take(scan.cell.backward_rows * L);
      block = arena.take(scan.cell.block_rows * L);
      turned = arena.take(turned_size<NV>(scan.chunk));
    }
  };

  void run_forward(float* scratch, const Block<NV>& b) {
    Arena arena{scratch};
    auto [slot, h, next, c, work] = ForwardWork(*this, arena);
    const int H = s.units;
    b.load_state(h, s.state, H);
    if (memory.active) b.load_state(c, s.cell, H);
    for (int t = 0; t < b.steps; ++t) {
      load_step(b, t, slot);
      restart(slot, h);
      const float* before = h;
      if (memory.active) {
        restart(slot, c);
        memory.forward(b, t, h, c, slot + at_memory);
        before = memory.remembered(slot + at_memory);
        b.update(c, memory.new_cell(slot + at_memory), t, H);
        b.store(s.cells, c, t, H);
      }
      cell.forward(b, t, slot, before, slot + at_span, next, work);
      b.update(h, next, t, H);
      b.store(s.states, h, t, H);
    }
    for (int t = b.steps; t < s.time; ++t) {
      b.store(s.states, h, t, H);
      if (memory.active) b.store(s.cells, c, t, H);
    }
  }

  void run_backward(float* scratch, const Block<NV>& b, float* gradients) {
    Arena arena{scratch};
    auto [slots, g, gh, gh_before, gc, gc_before, gx, gspan, row, work, block_state, turned] = BackwardWork(*this, arena);
    const int H = s.units;
    float* memory_gradients = gradients + cell.parameters;
    cell.begin(block_state);
    memset(gh, 0, sizeof(float) * H * L);
    if (memory.active) memset(gc, 0, sizeof(float) * H * L);

    auto add_grad = [&, row = row](float* sum, const float* grad, int t) {
      b.load_always(row, grad, t, H);
      for (int i = 0; i < H * L; i += kWidth) store(sum + i, load(sum + i) + load(row + i));
    };
    for (int t = s.time - 1; t >= b.steps; --t) {
      add_grad(gh, s.grad_states, t);
      if (memory.active) add_grad(gc, s.grad_cells, t);
    }
    for (int stop = b.steps; stop > 0; stop -= chunk) {
      const int start = stop > chunk ? stop - chunk : 0;
      for (int t = start; t < stop; ++t) {
        float* slot = slots + (t - start) * stride;
        float* h = slot + at_h;
        load_step(b, t, slot);
        t ? b.load_before(h, s.states, t, H) : b.load_state(h, s.state, H);
        restart(slot, h);
        if (memory.active) {
          t ? b.load_before(row, s.cells, t, H) : b.load_state(row, s.cell, H);
          restart(slot, row);
          memory.forward(b, t, h, row, slot + at_memory);
          h = memory.remembered(slot + at_memory);
        }
        cell.recompute(b, t, slot, h, slot + at_span, slot + at_cell, work);
      }
      for (int t = stop - 1; t >= start; --t) {
        float* slot = slots + (t - start) * stride;
        float* h = memory.active ? memory.remembered(slot + at_memory) : slot + at_h;
        add_grad(gh, s.grad_states, t);
        b.only_active(g, gh, t, H);
        cell.backward(slot, h, slot + at_span, slot + at_cell, g, gx, gh_before, gspan, work, block_state);
        if (memory.active) {
          add_grad(gc, s.grad_cells, t);
          b.only_active(g, gc, t, H);
          memory.backward(slot + at_memory, gh_before, g, gc_before);
          b.store(s.grad_drive, memory.grad_gates(slot + at_memory), t, 4 * H, true);
          b.update(gc, gc_before, t, H);
          restart(slot, gc);
        }
        b.update(gh, gh_before, t, H);
        restart(slot, gh);
        if (s.grad_input) b.store(s.grad_input, gx, t, s.inputs, true);
        if (s.grad_timespan) b.store(s.grad_timespan, gspan, t, 1, true);
      }
      cell.accumulate(slots + at_cell, stride, stop - start, gradients, block_state, turned);
      if (memory.active)
        memory.accumulate(slots + at_h, slots + at_memory, stride, stop - start, memory_gradients, turned);
    }
    b.store_state(s.grad_state, gh, H);
    if (memory.active) b.store_state(s.grad_cell, gc, H);
    cell.finish(block_state, gradients);
  }
};

template <int NV, class Cell, class Problem>
constexpr Recurrence<Problem> recurrence() {
  using S = Scan<NV, Cell, Problem>;
  return {NV * kWidth, S::parameters, S::plan_size, S::scratch_size, S::make_plan, S::forward, S::backward};
}

}  // namespace torchliquid::TORCHLIQUID_ISA
