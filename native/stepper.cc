#include "stepper.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <memory>
#include <variant>

#include "arguments.h"
#include "dispatch.h"
#include "run.h"

namespace torchliquid {
namespace {

// One recurrence or map for one sample at a time, with memory of its own for each worker.
class Live {
 public:
  virtual ~Live() = default;
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

// The same recurrence for many streams at once, with lanes over the streams.
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
using Doubles = nb::ndarray<double, nb::c_contig, nb::device::cpu>;
using Flags = nb::ndarray<bool, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// From readings to inputs; `held` and `started` are state.
struct Front {
  Doubles mean, std;  // (C,)
  double time_scale, limit;
  bool with_mask;
  Doubles held;  // (n, C)
  Flags started;
  Maybe<Flags> untold;  // (C,) of which the mask says nothing; none: it tells of all
};

// From features to answers; `total` and `count` are the state of a task per series.
struct Back {
  LinearArguments readout;
  Maybe<Doubles> total, count;  // (n, F), (n, 1)
  Maybe<Doubles> mean, std;     // of regression; a classification has none and gives probabilities
  int column;                   // of a forecast's own channel, whose last value is added to the answer
  double change;                // so many times; 0: not at all
};

struct Pipeline {
  Maybe<Front> front;
  bool span_input;  // one more input, log1p(span) - log 2
  Maybe<GatedArguments> memory;
  Maybe<std::vector<Floats>> input_map;  // weight and bias, an element each
  std::variant<LtcArguments, CfcArguments, GatedArguments> recurrence;
  int first_feature, features;
  Maybe<std::vector<Floats>> output_map;
  Maybe<LinearArguments> projection;
  Maybe<Back> back;
  State h;        // (n, H)
  Maybe<State> c;  // (n, H)
};

constexpr int kFewStreams = 8;         // so many go one by one: lanes over streams would be mostly empty
constexpr int kStreamsOfAThread = 256;  // fewer are not worth a thread

class Stepper {
  Pipeline s;
  int n, H, inputs, readings, answers, workers;
  std::unique_ptr<Live> memory, single, projection, readout;
  std::unique_ptr<Many> many;
  std::vector<float> x, spans, after, work;
  size_t work_size;
  std::vector<double> values, elapsed;

 public:
  Stepper(Pipeline pipeline, int threads) : s(std::move(pipeline)) {
    n = int(s.h.shape(0)), H = int(s.h.shape(1));
    if (n < 1) throw std::invalid_argument("h: at least one stream");
    if (s.c) checked(*s.c, {n, H}, "c");
    workers = std::max(1, std::min(threads, n / kStreamsOfAThread));
    const InstructionSet& set = instruction_set();
    std::visit([&](const auto& a) { make(a, set); }, s.recurrence);
    if (s.memory) {
      if (!s.c) throw std::invalid_argument("c: mixed memory needs it");
      const Gated g = gated(*s.memory);
      if (g.inputs != inputs || g.units != H) throw std::invalid_argument("memory: sizes do not fit");
      memory = std::make_unique<LiveStep<Gated>>(g, set.step_gated, workers);
    }
    readings = inputs - s.span_input;
    if (s.front) {
      if (s.front->with_mask) readings /= 2;
      checked(s.front->mean, {readings}, "mean");
      checked(s.front->std, {readings}, "std");
      checked(s.front->held, {n, readings}, "held");
      checked(s.front->started, {n}, "started");
      checked(s.front->untold, {readings}, "untold");
    }
    if (s.first_feature < 0 || s.features < 0 || s.first_feature + s.features > H)
      throw std::invalid_argument("features: not in the state");
    answers = s.features;
    for (const auto* map : {&s.input_map, &s.output_map})
      if (*map) {
        const int64_t size = map == &s.input_map ? inputs : s.features;
        if ((*map)->size() != 2) throw std::invalid_argument("a map: weight and bias");
        for (const Floats& a : **map) checked(a, {size}, "map");
      }
    if (s.projection) {
      const Linear l = linear(*s.projection);
      if (l.inputs != answers) throw std::invalid_argument("projection: sizes do not fit");
      answers = l.outputs;
      projection = std::make_unique<LiveStep<Linear>>(l, set.step_linear, workers);
    }
    work_size = inputs + s.features + 2 * answers;
    if (s.back) {
      const Linear l = linear(s.back->readout);
      if (l.inputs != answers) throw std::invalid_argument("readout: sizes do not fit");
      if (bool(s.back->total) != bool(s.back->count)) throw std::invalid_argument("total and count: both or none");
      checked(s.back->total, {n, answers}, "total");
      checked(s.back->count, {n, 1}, "count");
      answers = l.outputs;
      checked(s.back->mean, {answers}, "mean");
      checked(s.back->std, {answers}, "std");
      if (s.back->change && !(s.front && s.back->mean && s.back->column >= 0 && s.back->column < readings))
        throw std::invalid_argument("column: a reading's, of a forecast of values");
      readout = std::make_unique<LiveStep<Linear>>(l, set.step_linear, workers);
      work_size += answers;
    }
    x.resize(size_t(n) * inputs);
    spans.resize(n);
    work.resize(work_size * workers);
  }

  // False where the arguments are not what they should be; Python then says what is wrong.
  bool step(nb::handle values_object, nb::handle elapsed_object, nb::handle out) {
    double one = NAN;
    const double* time = &one;
    size_t time_stride = 0;
    if (!read(values_object, values, n, readings)) return false;
    if (PyFloat_Check(elapsed_object.ptr()) || PyLong_Check(elapsed_object.ptr())) {
      one = PyFloat_AsDouble(elapsed_object.ptr());
      if (PyErr_Occurred()) return PyErr_Clear(), false;
    } else if (!elapsed_object.is_none()) {
      if (!read(elapsed_object, elapsed, 1, n)) return false;
      time = elapsed.data();
      time_stride = 1;
    }
    if (!s.front)
      for (int i = 0; i < n; ++i) {
        double span = elapsed_object.is_none() ? 1.0 : time[i * time_stride];
        if (!(span >= 0) || std::isinf(span)) return false;
        spans[i] = float(span);
        if (std::isinf(spans[i])) return false;
      }
    Buffer to;
    if (!to.get(out, PyBUF_WRITABLE | PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) || to.items() != size_t(n) * answers ||
        to.kind() != (s.back ? 'd' : 'f'))
      return false;
    if (n < kStreamsOfAThread) {
      advance(time, time_stride, to.data());
    } else {
      nb::gil_scoped_release released;
      advance(time, time_stride, to.data());
    }
    return true;
  }

 private:
  // A view of an array's memory through the buffer protocol, several times cheaper than DLPack.
  struct Buffer {
    Py_buffer view{};
    bool held = false;
    ~Buffer() {
      if (held) PyBuffer_Release(&view);
    }
    bool get(nb::handle object, int flags) {
      held = PyObject_GetBuffer(object.ptr(), &view, flags) == 0;
      if (!held) PyErr_Clear();
      return held;
    }
    char kind() const { return view.format && !view.format[1] ? view.format[0] : '?'; }
    size_t items() const { return size_t(view.len / view.itemsize); }
    void* data() const { return view.buf; }
  };

  // Numbers of shape (rows, columns); of one row, (columns,) too.
  static bool read(nb::handle object, std::vector<double>& to, int rows, int columns) {
    Buffer from;
    const size_t count = size_t(rows) * columns;
    if (!from.get(object, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) || from.items() != count) return false;
    const bool flat = from.view.ndim == 1 && rows == 1;
    if (!flat && !(from.view.ndim == 2 && from.view.shape[0] == rows)) return false;
    to.resize(count);
    if (from.kind() == 'd') {
      std::memcpy(to.data(), from.data(), sizeof(double) * count);
    } else if (from.kind() == 'f') {
      for (size_t i = 0; i < count; ++i) to[i] = static_cast<const float*>(from.data())[i];
    } else {
      return false;
    }
    return true;
  }

  template <class Problem>
  void make_many(const Problem& p, const Recurrence<Problem> (&choices)[2]) {
    if (n < kFewStreams || s.memory) return;
    x.resize(size_t(n) * inputs);
    spans.resize(n);
    after.resize(size_t(n) * H);
    Sequence sequence{};
    sequence.batch = n, sequence.time = 1, sequence.inputs = inputs, sequence.units = H;
    sequence.input = x.data(), sequence.timespan = spans.data(), sequence.state = s.h.data();
    sequence.states = after.data();
    many = std::make_unique<ManySteps<Problem>>(p, sequence, choices, workers);
  }
  template <class Problem>
  void make_liquid(const Problem& p, const Recurrence<Problem> (&choices)[2], const Step<Problem>& step) {
    inputs = p.sequence.inputs;
    if (p.sequence.units != H) throw std::invalid_argument("h: (n, H) expected");
    single = std::make_unique<LiveStep<Problem>>(p, step, workers);
    make_many(p, choices);
  }
  static Sequence sizes(const SequenceArguments& a) {
    if (a.input.ndim() != 3 || a.state.ndim() != 2) throw std::invalid_argument("input (B, T, C), state (B, H) expected");
    Sequence s{};
    s.inputs = int(a.input.shape(2)), s.units = int(a.state.shape(1));
    return s;
  }
  void make(const LtcArguments& a, const InstructionSet& set) {
    make_liquid(ltc(a, sizes(a.sequence)), set.ltc, set.step_ltc);
  }
  void make(const CfcArguments& a, const InstructionSet& set) {
    make_liquid(cfc(a, sizes(a.sequence)), set.cfc, set.step_cfc);
  }
  void make(const GatedArguments& a, const InstructionSet& set) {
    const Gated g = gated(a);
    inputs = g.inputs;
    if (g.units != H) throw std::invalid_argument("h: (n, H) expected");
    if (g.lstm && !s.c) throw std::invalid_argument("c: an LSTM needs it");
    single = std::make_unique<LiveStep<Gated>>(g, set.step_gated, workers);
  }

  void advance(const double* time, size_t time_stride, void* out) {
    const int chunk = many ? many->lanes() : 64;
    parallel((n + chunk - 1) / chunk, workers, [&](int block, int worker) {
      const int start = block * chunk, stop = std::min(n, start + chunk);
      float* own = work.data() + worker * work_size;
      for (int i = start; i < stop; ++i) {
        prepare(i, time[i * time_stride]);
        if (!many) run_one(i, worker, own);
      }
      if (many) {
        for (int i = start; i < stop; ++i) map(s.input_map, &x[size_t(i) * inputs], &x[size_t(i) * inputs], inputs);
        many->run(worker, block);
        std::memcpy(s.h.data() + size_t(start) * H, &after[size_t(start) * H], sizeof(float) * H * (stop - start));
      }
      for (int i = start; i < stop; ++i) answer(i, worker, own, out);
    });
  }

  void prepare(int i, double time) {
    float* to = &x[size_t(i) * inputs];
    const double* reading = &values[size_t(i) * readings];
    if (s.front) {
      Front& f = *s.front;
      double* held = f.held.data() + size_t(i) * readings;
      for (int j = 0; j < readings; ++j) {
        const double scaled = (reading[j] - f.mean.data()[j]) / f.std.data()[j];
        const bool observed = std::fabs(scaled) <= f.limit;
        if (observed) held[j] = scaled;
        to[j] = float(held[j]);
        if (f.with_mask) to[readings + j] = observed || (f.untold && f.untold->data()[j]);
      }
      const float span = float(time / f.time_scale);
      spans[i] = f.started.data()[i] && span >= 0 && std::isfinite(span) ? span : 1.0f;
      f.started.data()[i] = true;
    } else {
      for (int j = 0; j < readings; ++j) to[j] = float(reading[j]);
    }
    if (s.span_input) to[inputs - 1] = std::log1p(spans[i]) - 0.69314718055994531f;
  }

  void run_one(int i, int worker, float* own) {
    const float* in = &x[size_t(i) * inputs];
    float *h = s.h.data() + size_t(i) * H, *c = s.c ? s.c->data() + size_t(i) * H : nullptr;
    if (memory) memory->run(worker, in, spans[i], h, c);
    if (s.input_map) {
      map(s.input_map, in, own, inputs);
      in = own;
    }
    single->run(worker, in, spans[i], h, c);
  }

  static void map(const Maybe<std::vector<Floats>>& map, const float* from, float* to, int size) {
    if (!map) return;
    const float *weight = (*map)[0].data(), *bias = (*map)[1].data();
    for (int j = 0; j < size; ++j) to[j] = from[j] * weight[j] + bias[j];
  }

  void answer(int i, int worker, float* own, void* out) {
    const float* features = s.h.data() + size_t(i) * H + s.first_feature;
    int size = s.features;
    if (s.output_map) {
      map(s.output_map, features, own, size);
      features = own;
      own += size;
    }
    if (projection) {
      projection->run(worker, features, 0, own, nullptr);
      features = own;
      size = linear(*s.projection).outputs;
      own += size;
    }
    if (!s.back) {
      std::memcpy(static_cast<float*>(out) + size_t(i) * size, features, sizeof(float) * size);
      return;
    }
    Back& b = *s.back;
    if (b.total) {
      double* total = b.total->data() + size_t(i) * size;
      const double share = 1 / (b.count->data()[i] += 1);
      for (int j = 0; j < size; ++j) {
        total[j] += features[j];
        own[j] = float(total[j] * share);
      }
      features = own;
      own += size;
    }
    readout->run(worker, features, 0, own, nullptr);
    double* to = static_cast<double*>(out) + size_t(i) * answers;
    if (b.mean) {
      const double last = b.change ? b.change * s.front->held.data()[size_t(i) * readings + b.column] : 0.0;
      for (int k = 0; k < answers; ++k) to[k] = (own[k] + last) * b.std->data()[k] + b.mean->data()[k];
      return;
    }
    double largest = own[0], sum = 0;
    for (int k = 1; k < answers; ++k) largest = std::max(largest, double(own[k]));
    for (int k = 0; k < answers; ++k) sum += to[k] = std::exp(own[k] - largest);
    for (int k = 0; k < answers; ++k) to[k] /= sum;
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
  nb::class_<Stepper>(m, "Stepper")
      .def(
          "__init__",
          [](Stepper* self, nb::handle recurrence, State h, Maybe<State> c, int first_feature, int features,
             Maybe<std::vector<Floats>> input_map, Maybe<std::vector<Floats>> output_map, Maybe<GatedArguments> memory,
             Maybe<LinearArguments> projection, bool span_input, Maybe<Front> front, Maybe<Back> back, int threads) {
            Pipeline s{front,    span_input, memory,     input_map, GatedArguments(), first_feature,
                       features, output_map, projection, back,      h,                c};
            if (nb::isinstance<LtcArguments>(recurrence))
              s.recurrence = nb::cast<LtcArguments>(recurrence);
            else if (nb::isinstance<CfcArguments>(recurrence))
              s.recurrence = nb::cast<CfcArguments>(recurrence);
            else
              s.recurrence = nb::cast<GatedArguments>(recurrence);
            new (self) Stepper(std::move(s), threads);
          },
          nb::arg("recurrence"), nb::arg("h"), nb::arg("c").none(), nb::arg("first_feature"), nb::arg("features"),
          nb::arg("input_map").none() = nb::none(), nb::arg("output_map").none() = nb::none(),
          nb::arg("memory").none() = nb::none(), nb::arg("projection").none() = nb::none(),
          nb::arg("span_input") = false, nb::arg("front").none() = nb::none(), nb::arg("back").none() = nb::none(),
          nb::arg("threads") = 1)
      .def("step", &Stepper::step, nb::arg("values"), nb::arg("elapsed").none(), nb::arg("out"),
           "Bring the streams' states up to date; False, with nothing done, where the arguments do not fit.");
}

}  // namespace torchliquid
