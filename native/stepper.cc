#include "stepper.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <variant>

#include "arguments.h"
#include "dispatch.h"
#include "live.h"
#include "run.h"

namespace torchliquid {
namespace {

Sequence sizes_of(const SequenceArguments& a) {
  if (a.input.ndim() != 3 || a.state.ndim() != 2) throw std::invalid_argument("input (B, T, C), state (B, H) expected");
  Sequence s{};
  s.inputs = int(a.input.shape(2)), s.units = int(a.state.shape(1));
  return s;
}

// One recurrence or map for one sample at a time, with memory of its own for each worker.
class Live {
 public:
  virtual ~Live() = default;
  // c: the memory's cell state, or where outputs are written that are not the state.
  virtual void run(int worker, const float* x, float span, float* h, float* c) const = 0;
};

template <class Problem>
class LiveStep final : public Live {
  Problem problem;
  const Step<Problem>& step;
  std::unique_ptr<AlignedFloats> plan, memory;
  size_t plan_size, scratch_size, object_size;

 public:
  LiveStep(const Problem& problem, const Step<Problem>& step, int workers) : problem(problem), step(step) {
    auto lines = [](size_t floats) { return (floats + 15) / 16 * 16; };
    step.sizes(this->problem, &plan_size, &scratch_size);
    scratch_size = lines(scratch_size);
    object_size = lines((step.object_size + 3) / 4);
    plan = std::make_unique<AlignedFloats>(plan_size);
    memory = std::make_unique<AlignedFloats>(workers * (object_size + scratch_size));
    for (int worker = 0; worker < workers; ++worker) {
      float* object = memory->data() + worker * (object_size + scratch_size);
      step.make(object, this->problem, plan->data(), object + object_size, worker == 0);
    }
  }
  void run(int worker, const float* x, float span, float* h, float* c) const override {
    step.run(memory->data() + worker * (object_size + scratch_size), x, span, h, c);
  }
};

// An LrcSSM: the inputs' synapses, the neurons (by the kernel for sequences), and the maps of its block.
struct LrcSsmLayerArguments {
  LrcSsmArguments neurons;
  Floats slope, offset;
  LinearArguments drive;
  Maybe<LinearArguments> enter;
  std::vector<LinearArguments> feed;  // two with a block, else none
};

class LiveLrcSsm final : public Live {
  using Map = LiveStep<Linear>;
  LrcSsm neurons;
  const Recurrence<LrcSsm>& recurrence;
  const float *slope, *offset;
  bool block;
  std::unique_ptr<Map> enter, drive, open, close;
  mutable AlignedFloats memory;
  size_t size;

  static void normalise(float* x, int n) {
    double mean = 0, square = 0;
    for (int i = 0; i < n; ++i) mean += x[i];
    mean /= n;
    for (int i = 0; i < n; ++i) square += (x[i] - mean) * (x[i] - mean);
    const double scale = 1 / std::sqrt(square / n + 1e-5);
    for (int i = 0; i < n; ++i) x[i] = float((x[i] - mean) * scale);
  }

 public:
  int inputs, read, units;

  LiveLrcSsm(const LrcSsmLayerArguments& a, const InstructionSet& set, int workers)
      : neurons(lrcssm(a.neurons, sizes_of(a.neurons.sequence))),
        recurrence(set.lrcssm[0]),
        block(a.feed.size() == 2),
        memory(size_t(workers) * (2 * a.slope.size() + 4 * a.neurons.vleak.size() + 48)) {
    auto map = [&](const LinearArguments& of, int from, int to) {
      const Linear l = linear(of);
      if (l.inputs != from || l.outputs != to) throw std::invalid_argument("a map of an LrcSSM: sizes do not fit");
      return std::make_unique<Map>(l, set.step_linear, workers);
    };
    neurons.sequence.batch = neurons.sequence.time = 1;
    read = int(a.slope.size()), units = neurons.sequence.units;
    size = size_t(2 * read + 4 * units + 48);
    slope = checked(a.slope, {read}, "slope"), offset = checked(a.offset, {read}, "offset");
    inputs = a.enter ? linear(*a.enter).inputs : read;
    if (a.enter) enter = map(*a.enter, inputs, read);
    drive = map(a.drive, read, 2 * units);
    if (!block) return;
    if (read != units) throw std::invalid_argument("a block of an LrcSSM has as many values as units");
    open = map(a.feed[0], units, units), close = map(a.feed[1], units, units);
  }
  void run(int worker, const float* x, float span, float* h, float* c) const override {
    float *entered = memory.data() + worker * size, *open_to = entered + read, *driven = open_to + read;
    float* after = driven + 2 * units;
    if (enter)
      enter->run(worker, x, 0, entered, nullptr);
    else
      std::memcpy(entered, x, sizeof(float) * read);
    if (block) normalise(entered, read);
    for (int i = 0; i < read; ++i) open_to[i] = 1 / (1 + std::exp(-(slope[i] * entered[i] + offset[i])));
    drive->run(worker, open_to, 0, driven, nullptr);
    LrcSsm one = neurons;
    one.sequence.input = driven, one.sequence.timespan = &span, one.sequence.state = h, one.sequence.states = after;
    recurrence.forward(one, nullptr, nullptr, 0);
    std::memcpy(h, after, sizeof(float) * units);
    if (!block) return;
    for (int i = 0; i < units; ++i) after[i] += entered[i];
    normalise(after, units);
    open->run(worker, after, 0, driven, nullptr);
    for (int i = 0; i < units; ++i) driven[i] = driven[i] > 0 ? driven[i] : 0;
    close->run(worker, driven, 0, c, nullptr);
    for (int i = 0; i < units; ++i) c[i] += after[i];
  }
};

// One recurrence for many streams at once, with lanes over the streams.
class Many {
 public:
  virtual ~Many() = default;
  virtual int lanes() const = 0;
  virtual void run(int worker, int block) = 0;
};

template <class Problem>
class ManySteps final : public Many {
  Problem problem;
  const Recurrence<Problem>& recurrence;
  std::unique_ptr<AlignedFloats> plan, scratch;
  size_t scratch_size;

 public:
  ManySteps(const Problem& p, const Sequence& sequence, const Recurrence<Problem> (&choices)[2], int workers)
      : problem(p), recurrence(choose(choices, sequence.batch)) {
    problem.sequence = sequence;
    scratch_size = (recurrence.scratch_size(problem, false) + 31) / 16 * 16;
    plan = std::make_unique<AlignedFloats>(recurrence.plan_size(problem));
    scratch = std::make_unique<AlignedFloats>(scratch_size * workers);
    recurrence.make_plan(problem, plan->data(), false);
  }
  int lanes() const override { return recurrence.lanes; }
  void run(int worker, int block) override {
    recurrence.forward(problem, plan->data(), scratch->data() + worker * scratch_size, block);
  }
};

using State = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// From features to answers. `total` and `count` are the state of a task per series.
struct Back {
  LinearArguments readout;
  Maybe<Doubles> total, count;  // (n, F), (n, 1)
  Maybe<Doubles> mean, std;     // of regression; without them the answers are probabilities
  int column;                   // a forecast's channel, whose last value times `change` is added to the answer
  double change;
};

struct LayerArguments;

// The state has those of the router and the experts, and the time since each expert's last call.
struct MixtureArguments {
  std::vector<LayerArguments> parts;  // the router, then the experts
  LinearArguments gate;
  int top_k;
};

using AnyRecurrence =
    std::variant<LtcArguments, CfcArguments, GatedArguments, LinearArguments, LrcSsmLayerArguments, MixtureArguments>;

// One layer of a chain, fed by the one before; or a part of a mixture, whose state the mixture keeps.
struct LayerArguments {
  AnyRecurrence recurrence;  // a linear map has a tanh after it, and no state
  Maybe<State> h;  // (n, H)
  Maybe<State> c;  // (n, H)
  int first_feature, features;
  Maybe<std::vector<Floats>> input_map, output_map;  // weight and bias, an element each
  Maybe<GatedArguments> memory;
  Maybe<LinearArguments> projection;
  bool span_input;  // one more input, log1p(span) - log 2
};

constexpr int kFewStreams = 8;         // below it, streams run one by one: lanes over streams would be mostly empty
constexpr int kStreamsOfAThread = 256;  // minimum number of streams for each thread

void map(const Maybe<std::vector<Floats>>& map, const float* from, float* to, int size) {
  if (!map) return;
  const float *weight = (*map)[0].data(), *bias = (*map)[1].data();
  for (int j = 0; j < size; ++j) to[j] = from[j] * weight[j] + bias[j];
}

// One layer for one stream at a time. The caller keeps the state.
class Single {
  const InstructionSet& set;
  int workers;
  std::unique_ptr<Live> step, memory, projection;

 public:
  LayerArguments s;
  int inputs = 0, states = 0, answers = 0, outputs;  // answers: 0 if the outputs are computed from the states

  Single(const LayerArguments& arguments, int workers)
      : set(instruction_set()), workers(workers), s(arguments) {
    std::visit([&](const auto& a) { make(a); }, s.recurrence);
    if (s.memory) {
      if (!s.c) throw std::invalid_argument("c: mixed memory needs it");
      const Gated g = gated(*s.memory);
      if (g.inputs != inputs || g.units != states) throw std::invalid_argument("memory: sizes do not fit");
      memory = std::make_unique<LiveStep<Gated>>(g, set.step_gated, workers);
    }
    if (s.first_feature < 0 || s.features < 0 || s.first_feature + s.features > (answers ? answers : states))
      throw std::invalid_argument("features: not in the state");
    outputs = s.features;
    for (const auto* map : {&s.input_map, &s.output_map})
      if (*map) {
        const int64_t size = map == &s.input_map ? inputs : s.features;
        if ((*map)->size() != 2) throw std::invalid_argument("a map: weight and bias");
        for (const Floats& a : **map) checked(a, {size}, "map");
      }
    if (s.projection) {
      const Linear l = linear(*s.projection);
      if (l.inputs != outputs) throw std::invalid_argument("projection: sizes do not fit");
      outputs = l.outputs;
      projection = std::make_unique<LiveStep<Linear>>(l, set.step_linear, workers);
    }
  }
  bool remembers() const { return bool(memory); }
  size_t read_size() const { return s.features + outputs; }
  size_t work_size() const { return inputs + read_size(); }

  void run(int worker, const float* x, float span, float* h, float* c, float* own) const {
    if (memory) memory->run(worker, x, span, h, c);
    if (s.input_map) {
      map(s.input_map, x, own, inputs);
      x = own;
    }
    step->run(worker, x, span, h, c);
  }
  // The outputs, from the answers or states. They are part of `from`, or in `own`.
  const float* read(int worker, const float* from, float* own) const {
    const float* features = from + s.first_feature;
    if (s.output_map) {
      map(s.output_map, features, own, s.features);
      features = own;
      own += s.features;
    }
    if (projection) {
      projection->run(worker, features, 0, own, nullptr);
      features = own;
    }
    return features;
  }

 private:
  template <class Problem>
  void make_liquid(const Problem& p, const Step<Problem>& with) {
    inputs = p.sequence.inputs, states = p.sequence.units;
    step = std::make_unique<LiveStep<Problem>>(p, with, workers);
  }
  void make(const LtcArguments& a) { make_liquid(ltc(a, sizes_of(a.sequence)), set.step_ltc); }
  void make(const CfcArguments& a) { make_liquid(cfc(a, sizes_of(a.sequence)), set.step_cfc); }
  void make(const GatedArguments& a) {
    const Gated g = gated(a);
    inputs = g.inputs, states = g.units;
    if (g.lstm && !s.c) throw std::invalid_argument("c: an LSTM needs it");
    step = std::make_unique<LiveStep<Gated>>(g, set.step_gated, workers);
  }
  void make(const LrcSsmLayerArguments& a) {
    auto made = std::make_unique<LiveLrcSsm>(a, set, workers);
    inputs = made->inputs, states = made->units, answers = a.feed.empty() ? 0 : made->units;
    step = std::move(made);
  }
  void make(const LinearArguments& a) {
    const Linear l = linear(a);
    inputs = l.inputs, states = l.outputs;
    if (s.h || s.c || s.memory) throw std::invalid_argument("h: a dense layer has no state");
    step = std::make_unique<LiveStep<Linear>>(l, set.step_linear, workers);
  }
  void make(const MixtureArguments& a);
};

// The router steps, and the gate maps its outputs to one number for each expert. The top_k experts with the largest
// numbers step over the time since their last call.
class LiveMixture final : public Live {
  std::vector<Single> parts;
  LiveStep<Linear> gate;
  int experts, top_k;
  mutable std::vector<float> memory;
  size_t widest = 0, work = 0, size;

 public:
  int inputs, states = 0, outputs;

  LiveMixture(const MixtureArguments& a, int workers)
      : gate(linear(a.gate), instruction_set().step_linear, workers), experts(int(a.parts.size()) - 1), top_k(a.top_k) {
    if (experts < 1 || top_k < 1 || top_k > experts) throw std::invalid_argument("top_k: from 1 to the number of experts");
    parts.reserve(a.parts.size());
    for (const LayerArguments& part : a.parts) {
      parts.emplace_back(part, workers);
      const Single& one = parts.back();
      if (one.s.h || one.s.c) throw std::invalid_argument("parts: the mixture keeps their states");
      if (one.s.span_input || one.remembers() || one.inputs != parts[0].inputs ||
          (parts.size() > 2 && one.outputs != parts[1].outputs))
        throw std::invalid_argument("parts: sizes do not fit");
      states += one.states;
      widest = std::max(widest, size_t(one.answers));
      work = std::max(work, one.work_size());
    }
    const Linear l = linear(a.gate);
    if (l.inputs != parts[0].outputs || l.outputs != experts) throw std::invalid_argument("gate: sizes do not fit");
    states += experts;
    inputs = parts[0].inputs, outputs = parts[1].outputs;
    size = widest + work + 2 * experts + 32;  // so that workers do not share cache lines
    memory.resize(size * workers);
  }
  void run(int worker, const float* x, float span, float* h, float* y) const override {
    float *answer = memory.data() + worker * size, *own = answer + widest, *logits = own + work, *shares = logits + experts;
    float* waited = h + states - experts;
    gate.run(worker, called(parts[0], worker, x, span, h, answer, own), 0, logits, nullptr);
    const float largest = *std::max_element(logits, logits + experts);
    float sum = 0;
    for (int k = 0; k < experts; ++k) {
      sum += shares[k] = std::exp(logits[k] - largest);
      waited[k] += span;
    }
    std::fill(y, y + outputs, 0.0f);
    for (int call = 0; call < top_k; ++call) {
      const int best = int(std::max_element(logits, logits + experts) - logits);
      float* own_state = h + parts[0].states;
      for (int k = 0; k < best; ++k) own_state += parts[1 + k].states;
      const float* found = called(parts[1 + best], worker, x, waited[best], own_state, answer, own);
      for (int j = 0; j < outputs; ++j) y[j] += shares[best] / sum * found[j];
      waited[best] = 0, logits[best] = -INFINITY;
    }
  }

 private:
  static const float* called(const Single& part, int worker, const float* x, float span, float* h, float* answer, float* own) {
    part.run(worker, x, span, h, answer, own);
    return part.read(worker, part.answers ? answer : h, own);
  }
};

void Single::make(const MixtureArguments& a) {
  auto made = std::make_unique<LiveMixture>(a, workers);
  inputs = made->inputs, states = made->states, answers = made->outputs;
  step = std::move(made);
}

class Layer {
  Single one;
  const LayerArguments& s = one.s;
  int n, H;
  const float* spans;
  std::unique_ptr<Many> many;
  std::vector<float> after, shown;  // the new states; answers that are not states

 public:
  int inputs, outputs;
  std::vector<float> x;  // (n, inputs)

  Layer(const LayerArguments& arguments, int n, int workers, const float* spans)
      : one(arguments, workers), n(n), H(one.states), spans(spans), inputs(one.inputs), outputs(one.outputs) {
    const bool dense = std::holds_alternative<LinearArguments>(s.recurrence);
    if (!dense && !s.h) throw std::invalid_argument("h: (n, H) expected");
    for (const auto* state : {&s.h, &s.c})
      if (*state) checked(**state, {n, H}, state == &s.h ? "h" : "c");
    x.resize(size_t(n) * inputs);
    if (dense) after.resize(size_t(n) * H);
    shown.resize(size_t(n) * one.answers);
    const InstructionSet& set = instruction_set();
    if (const auto* a = std::get_if<LtcArguments>(&s.recurrence))
      make_many(ltc(*a, sizes_of(a->sequence)), set.ltc, workers);
    else if (const auto* a = std::get_if<CfcArguments>(&s.recurrence))
      make_many(cfc(*a, sizes_of(a->sequence)), set.cfc, workers);
  }
  int lanes() const { return many ? many->lanes() : 1; }
  int fed() const { return inputs - s.span_input; }
  size_t work_size() const { return one.work_size(); }
  size_t read_size() const { return one.read_size(); }

  // Runs streams `start` to `stop`, whose inputs are in x, and writes the outputs to the next layer's x.
  void run(int start, int stop, int worker, float* own, Layer* next) {
    for (int i = start; s.span_input && i < stop; ++i)
      x[size_t(i + 1) * inputs - 1] = std::log1p(spans[i]) - 0.69314718055994531f;
    if (many) {
      for (int i = start; i < stop; ++i) map(s.input_map, &x[size_t(i) * inputs], &x[size_t(i) * inputs], inputs);
      for (int i = start; i < stop; i += many->lanes()) many->run(worker, i / many->lanes());
      std::memcpy(s.h->data() + size_t(start) * H, &after[size_t(start) * H], sizeof(float) * H * (stop - start));
    }
    for (int i = start; i < stop; ++i) {
      if (!many) run_one(i, worker, own);
      if (next) std::memcpy(&next->x[size_t(i) * next->inputs], read(i, worker, own), sizeof(float) * outputs);
    }
  }

  // The outputs of stream i. They are part of the state, or in `own`.
  const float* read(int i, int worker, float* own) {
    return one.read(worker, one.answers ? &shown[size_t(i) * one.answers] : state(i), own);
  }

 private:
  template <class Problem>
  void make_many(const Problem& p, const Recurrence<Problem> (&choices)[2], int workers) {
    if (n < kFewStreams || s.memory) return;
    after.resize(size_t(n) * H);
    Sequence sequence{};
    sequence.batch = n, sequence.time = 1, sequence.inputs = inputs, sequence.units = H;
    sequence.input = x.data(), sequence.timespan = spans, sequence.state = s.h->data();
    sequence.states = after.data();
    many = std::make_unique<ManySteps<Problem>>(p, sequence, choices, workers);
  }

  float* state(int i) { return s.h ? s.h->data() + size_t(i) * H : &after[size_t(i) * H]; }

  void run_one(int i, int worker, float* own) {
    float *h = state(i), *c = s.c ? s.c->data() + size_t(i) * H : one.answers ? &shown[size_t(i) * one.answers] : nullptr;
    one.run(worker, &x[size_t(i) * inputs], spans[i], h, c, own);
    for (int j = 0; !s.h && j < H; ++j) h[j] = std::tanh(h[j]);
  }
};

class Stepper {
  Maybe<Front> front;
  Maybe<Back> back;
  int n, readings, features, answers, workers, chunk = 64;
  std::vector<std::unique_ptr<Layer>> layers;
  std::unique_ptr<Live> readout;
  std::vector<float> spans, work;
  size_t work_size = 0;
  std::vector<double> values;
  Elapsed elapsed;

 public:
  Stepper(const std::vector<LayerArguments>& chain, Maybe<Front> front, Maybe<Back> back, int threads)
      : front(std::move(front)), back(std::move(back)) {
    if (chain.empty() || !chain.back().h) throw std::invalid_argument("h: the last layer has a state");
    n = int(chain.back().h->shape(0));
    if (n < 1) throw std::invalid_argument("h: at least one stream");
    workers = std::max(1, std::min(threads, n / kStreamsOfAThread));
    spans.resize(n);
    int lanes = 1;
    for (const LayerArguments& one : chain) {
      layers.push_back(std::make_unique<Layer>(one, n, workers, spans.data()));
      if (layers.size() > 1 && layers.back()->fed() != features) throw std::invalid_argument("layers: sizes do not fit");
      features = layers.back()->outputs;
      lanes = std::max(lanes, layers.back()->lanes());
      work_size = std::max(work_size, layers.back()->work_size());
    }
    if (lanes > 1) chunk = lanes;
    readings = layers[0]->fed();
    if (this->front) {
      if (this->front->with_mask) readings /= 2;
      this->front->check(n, readings);
    }
    answers = features;
    if (this->back) {
      const Back& b = *this->back;
      const Linear l = linear(b.readout);
      if (l.inputs != answers) throw std::invalid_argument("readout: sizes do not fit");
      if (bool(b.total) != bool(b.count)) throw std::invalid_argument("total and count: both or none");
      checked(b.total, {n, answers}, "total");
      checked(b.count, {n, 1}, "count");
      answers = l.outputs;
      checked(b.mean, {answers}, "mean");
      checked(b.std, {answers}, "std");
      if (b.change && !(this->front && b.mean && b.column >= 0 && b.column < readings))
        throw std::invalid_argument("column: a reading's, of a forecast of values");
      readout = std::make_unique<LiveStep<Linear>>(l, instruction_set().step_linear, workers);
    }
    work_size = std::max(work_size, layers.back()->read_size() + features + answers);
    work.resize(work_size * workers);
  }

  // Returns false if the arguments are not valid. Python then raises the error.
  bool step(nb::handle values_object, nb::handle elapsed_object, nb::handle out) {
    if (!read_numbers(values_object, values, n, readings) || !elapsed.read(elapsed_object, n)) return false;
    if (!front)
      for (int i = 0; i < n; ++i) {
        double span = elapsed_object.is_none() ? 1.0 : elapsed.of(i);
        if (!(span >= 0) || std::isinf(span)) return false;
        spans[i] = float(span);
        if (std::isinf(spans[i])) return false;
      }
    Buffer to;
    if (!to.writable(out, size_t(n) * answers, back ? 'd' : 'f')) return false;
    if (n < kStreamsOfAThread) {
      advance(to.data());
    } else {
      nb::gil_scoped_release released;
      advance(to.data());
    }
    return true;
  }

 private:
  void advance(void* out) {
    parallel((n + chunk - 1) / chunk, workers, [&](int block, int worker) {
      const int start = block * chunk, stop = std::min(n, start + chunk);
      float* own = work.data() + worker * work_size;
      for (int i = start; i < stop; ++i) prepare(i, elapsed.of(i));
      for (size_t k = 0; k < layers.size(); ++k)
        layers[k]->run(start, stop, worker, own, k + 1 < layers.size() ? layers[k + 1].get() : nullptr);
      for (int i = start; i < stop; ++i) answer(i, worker, own, out);
    });
  }

  void prepare(int i, double time) {
    float* to = &layers[0]->x[size_t(i) * layers[0]->inputs];
    const double* reading = &values[size_t(i) * readings];
    if (front) {
      spans[i] = front->take(i, reading, time, to);
    } else {
      for (int j = 0; j < readings; ++j) to[j] = float(reading[j]);
    }
  }

  void answer(int i, int worker, float* own, void* out) {
    const float* from = layers.back()->read(i, worker, own);
    own += layers.back()->read_size();
    if (!back) {
      std::memcpy(static_cast<float*>(out) + size_t(i) * features, from, sizeof(float) * features);
      return;
    }
    Back& b = *back;
    if (b.total) {
      double* total = b.total->data() + size_t(i) * features;
      const double share = 1 / (b.count->data()[i] += 1);
      for (int j = 0; j < features; ++j) {
        total[j] += from[j];
        own[j] = float(total[j] * share);
      }
      from = own;
      own += features;
    }
    readout->run(worker, from, 0, own, nullptr);
    double* to = static_cast<double*>(out) + size_t(i) * answers;
    if (b.mean) {
      const double last = b.change ? b.change * front->held.data()[size_t(i) * readings + b.column] : 0.0;
      for (int k = 0; k < answers; ++k) to[k] = (own[k] + last) * b.std->data()[k] + b.mean->data()[k];
      return;
    }
    std::copy_n(own, answers, to);
    softmax(to, answers);
  }
};

}  // namespace

void bind_stepper(nb::module_& m) {
  nb::class_<Front>(m, "Front")
      .def(nb::init<Doubles, Doubles, double, double, bool, Doubles, Flags, Maybe<Flags>>(), nb::arg("mean"), nb::arg("std"),
           nb::arg("time_scale"), nb::arg("limit"), nb::arg("with_mask"), nb::arg("held"), nb::arg("started"),
           nb::arg("untold").none() = nb::none());
  nb::class_<Back>(m, "Back")
      .def(nb::init<LinearArguments, Maybe<Doubles>, Maybe<Doubles>, Maybe<Doubles>, Maybe<Doubles>, int, double>(),
           nb::arg("readout"), nb::arg("total").none(), nb::arg("count").none(), nb::arg("mean").none(),
           nb::arg("std").none(), nb::arg("column") = 0, nb::arg("change") = 0.0);
  nb::class_<LrcSsmLayerArguments>(m, "LrcSsmLayer")
      .def(nb::init<LrcSsmArguments, Floats, Floats, LinearArguments, Maybe<LinearArguments>, std::vector<LinearArguments>>(),
           nb::arg("neurons"), nb::arg("slope"), nb::arg("offset"), nb::arg("drive"), nb::arg("enter").none(), nb::arg("feed"));
  nb::class_<LayerArguments> layer(m, "Layer");  // declared before a mixture, whose parts it is
  nb::class_<MixtureArguments>(m, "Mixture")
      .def(nb::init<std::vector<LayerArguments>, LinearArguments, int>(), nb::arg("parts"), nb::arg("gate"), nb::arg("top_k"));
  layer
      .def(
          nb::init<AnyRecurrence, Maybe<State>, Maybe<State>, int, int, Maybe<std::vector<Floats>>, Maybe<std::vector<Floats>>,
                   Maybe<GatedArguments>, Maybe<LinearArguments>, bool>(),
          nb::arg("recurrence"), nb::arg("h").none(), nb::arg("c").none(), nb::arg("first_feature"), nb::arg("features"),
          nb::arg("input_map").none() = nb::none(), nb::arg("output_map").none() = nb::none(),
          nb::arg("memory").none() = nb::none(), nb::arg("projection").none() = nb::none(),
          nb::arg("span_input") = false);
  nb::class_<Stepper>(m, "Stepper")
      .def(nb::init<std::vector<LayerArguments>, Maybe<Front>, Maybe<Back>, int>(), nb::arg("layers"),
           nb::arg("front").none() = nb::none(), nb::arg("back").none() = nb::none(), nb::arg("threads") = 1)
      .def("step", &Stepper::step, nb::arg("values"), nb::arg("elapsed").none(), nb::arg("out"),
           "Process one sample of each stream. Returns False, and does nothing, if the arguments are not valid.");
}

}  // namespace torchliquid
