#include "table.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "live.h"

namespace torchliquid {
namespace {

using Numbers = nb::ndarray<const double, nb::c_contig, nb::device::cpu>;
using Indices = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// A row goes left, to `next[0]`, if its feature is at most `value`. A leaf has no feature and adds `value`.
struct Node {
  double value;
  int feature, next[2];
};

struct Trees {
  std::vector<Node> nodes;
  std::vector<int> roots;
  std::vector<double> baseline;

  Trees(Numbers base, Indices first, Indices feature, Numbers threshold, Indices left, Indices right, Numbers value)
      : roots(first.data(), first.data() + first.size()), baseline(base.data(), base.data() + base.size()) {
    const int64_t n = int64_t(feature.size());
    for (const Numbers& a : {threshold, value}) checked(a, {n}, "nodes");
    for (const Indices& a : {left, right}) checked(a, {n}, "nodes");
    if (baseline.empty() || roots.size() % baseline.size()) throw std::invalid_argument("roots: one a round and value");
    for (int root : roots)
      if (root < 0 || root >= n) throw std::invalid_argument("roots: no such node");
    for (int64_t i = 0; i < n; ++i) {
      const int f = feature.data()[i], l = left.data()[i], r = right.data()[i];
      if (f >= 0 && !(l > i && l < n && r > i && r < n)) throw std::invalid_argument("nodes: a parent before its children");
      nodes.push_back({f < 0 ? value.data()[i] : threshold.data()[i], f, {l, r}});
    }
  }
  void add(const double* features, double* to) const {
    const size_t k = baseline.size();
    for (size_t j = 0; j < k; ++j) to[j] += baseline[j];
    for (size_t i = 0; i < roots.size(); ++i) {
      const Node* at = &nodes[roots[i]];
      while (at->feature >= 0) at = &nodes[at->next[!(features[at->feature] <= at->value)]];
      to[i % k] += at->value;
    }
  }
};

struct Linear64 {
  Numbers mean, scale, weight, bias;  // (F,), (F,), (K, F), (K,)

  void add(double* features, double* to) const {  // the features are standardised in place
    const size_t n = mean.size();
    for (size_t j = 0; j < n; ++j) features[j] = (features[j] - mean.data()[j]) / scale.data()[j];
    for (size_t k = 0; k < bias.size(); ++k) {
      double part[4] = {};
      const double* w = weight.data() + k * n;
      size_t j = 0;
      for (; j + 4 <= n; j += 4)
        for (int l = 0; l < 4; ++l) part[l] += w[j + l] * features[j + l];
      for (; j < n; ++j) part[0] += w[j] * features[j];
      to[k] += (part[0] + part[1]) + (part[2] + part[3]) + bias.data()[k];
    }
  }
};

// From raw values to answers: values with `mean` and `std`, otherwise probabilities.
struct Decode {
  Maybe<Doubles> mean, std;
  int column;
  double change, temperature, shift;
  int positive;
};

class Table {
  Front front;
  Doubles memory;  // (n, S), see `size`
  std::vector<int> windows, places;
  int n, channels, inputs, lookback, lags, answers, width;
  bool uneven, whole;
  std::optional<Linear64> linear;
  std::optional<Trees> trees;
  Decode decode;
  std::vector<double> values, x, t, f;
  std::vector<float> fresh;
  Elapsed elapsed;

 public:
  // The features are those of `windows` of samples and of `lags` earlier samples. If `lookback` is 0, they are those of
  // the whole series, with its values at `places`.
  Table(Front front_, Doubles memory, int lookback, std::vector<int> windows, int lags, bool uneven, std::vector<int> places,
        std::optional<Linear64> linear, std::optional<Trees> trees, Decode decode, int answers, int width)
      : front(front_), memory(memory), windows(windows), places(places), lookback(lookback), lags(lags), answers(answers),
        width(width), uneven(uneven), whole(lookback == 0), linear(linear), trees(trees), decode(decode) {
    channels = int(front.mean.size());
    inputs = channels * (front.with_mask ? 2 : 1);
    n = int(memory.shape(0));
    checked(memory, {n, size(channels, inputs, lookback, int(places.size()))}, "memory");
    front.check(n, channels);
    checked(decode.mean, {answers}, "mean");
    checked(decode.std, {answers}, "std");
    const int raw = answers == 2 && !decode.mean ? 1 : answers;
    if (linear) {
      checked(linear->mean, {width}, "mean of features");
      checked(linear->scale, {width}, "scale of features");
      checked(linear->weight, {raw, width}, "weight");
      checked(linear->bias, {raw}, "bias");
    }
    if (trees) {
      if (int(trees->baseline.size()) != raw) throw std::invalid_argument("trees: of another number of values");
      for (const Node& node : trees->nodes)
        if (node.feature >= width) throw std::invalid_argument("trees: no such feature");
    }
    if (!whole && lags >= lookback) throw std::invalid_argument("lags: fewer than the samples that are kept");
    if (decode.column < 0 || decode.column >= channels) throw std::invalid_argument("column: no such channel");
    if (!decode.mean && (decode.positive < 0 || decode.positive >= answers)) throw std::invalid_argument("positive");
    fresh.resize(inputs);
    x.resize(size_t(std::max(lookback, 1)) * inputs);
    t.resize(std::max(lookback, 1));
    f.reserve(width);
  }

  // Size of a stream's state: the number of samples, whether the last value is known, then the last samples and their
  // spans. For a whole series instead of these: sums for time, for each channel and for the mask, and the values at
  // `places`.
  static int64_t size(int channels, int inputs, int lookback, int places) {
    return 2 + (lookback ? int64_t(lookback) * (inputs + 1)
                         : 3 + int64_t(6) * channels + (inputs - channels) + int64_t(places) * channels);
  }

  bool step(nb::handle values_object, nb::handle elapsed_object, nb::handle out) {
    if (!read_numbers(values_object, values, n, channels) || !elapsed.read(elapsed_object, n)) return false;
    Buffer to;
    if (!to.writable(out, size_t(n) * answers, 'd')) return false;
    for (int i = 0; i < n; ++i) {
      const float span = front.take(i, &values[size_t(i) * channels], elapsed.of(i), fresh.data());
      double* state = memory.data() + size_t(i) * memory.shape(1);
      f.clear();
      f.insert(f.end(), fresh.begin(), fresh.end());
      if (uneven) f.push_back(std::log1p(double(span)));
      whole ? follow(state, span) : look_back(state, span);
      if (int(f.size()) != width) throw std::runtime_error("features: not as many as the model has");
      answer(static_cast<double*>(to.data()) + size_t(i) * answers);
    }
    return true;
  }

 private:
  void look_back(double* state, float span) {
    const bool known = !decode.change || fresh[decode.column] != 0.0f;
    if (known && !state[1]) state[0] = 0, state[1] = 1;  // features start at the first known value
    double* ring = state + 2;
    double* spans = ring + size_t(lookback) * inputs;
    const int place = int(int64_t(state[0]) % lookback);
    for (int j = 0; j < inputs; ++j) ring[size_t(place) * inputs + j] = fresh[j];
    spans[place] = span;
    state[0] += 1;
    const int m = int(std::min<double>(state[0], lookback)), last = m - 1;
    t[last] = 0;
    for (int k = last, at = place; k >= 0; --k) {  // x: the oldest first; t: relative to the newest
      std::copy_n(ring + size_t(at) * inputs, inputs, &x[size_t(k) * inputs]);
      if (k) t[k - 1] = t[k] - spans[at];
      at = at ? at - 1 : lookback - 1;
    }
    auto age = [&](int lag) { return -t[std::max(last - lag, 0)] + std::max(lag - last, 0); };
    auto value = [&](int k, int c) { return x[size_t(k) * inputs + c]; };
    for (int window : windows) {
      const int count = std::min(window, m), first = m - count;
      if (uneven) f.push_back(std::log1p(age(window - 1)));
      double middle = 0, spread = 0;
      for (int k = first; k < m; ++k) middle += t[k] / count;
      for (int k = first; k < m; ++k) spread += (t[k] - middle) * (t[k] - middle);
      const size_t at = f.size();
      f.resize(at + size_t(6) * channels);
      double *mean = &f[at], *deviation = mean + channels, *low = deviation + channels, *high = low + channels,
             *slope = high + channels, *moved = slope + channels;
      for (int c = 0; c < channels; ++c) {
        low[c] = high[c] = value(first, c);
        moved[c] = value(last, c) - value(first, c);
      }
      for (int k = first; k < m; ++k)
        for (int c = 0; c < channels; ++c) {
          const double v = value(k, c);
          mean[c] += v;
          deviation[c] += v * v;
          low[c] = std::min(low[c], v);
          high[c] = std::max(high[c], v);
          slope[c] += (t[k] - middle) * v;
        }
      for (int c = 0; c < channels; ++c) {
        mean[c] /= count;
        deviation[c] = std::sqrt(std::max(deviation[c] / count - mean[c] * mean[c], 0.0));
        slope[c] /= spread > 0 ? spread : 1.0;
      }
      for (int j = channels; j < inputs; ++j) {
        double seen = 0;
        for (int k = first; k < m; ++k) seen += value(k, j);
        f.push_back(seen / count);
      }
    }
    if (!lags) return;
    for (int c = 0; c < channels; ++c)
      for (int lag = 1; lag <= lags; ++lag) f.push_back(lag <= last ? value(last - lag, c) : 0.0);
    const int oldest = std::max(last - lags, 0);
    if (uneven) {
      for (int lag = 1; lag <= lags; ++lag) f.push_back(std::log1p(age(lag)));
      for (int c = 0; c < channels; ++c) {
        int k = last;  // the sample whose value holds at a time
        for (int back = 1; back <= lags; ++back) {
          const double until = std::max(-double(back), t[oldest]);
          double total = 0, upper = std::max(-double(back - 1), t[oldest]);
          while (upper > until) {
            while (k > oldest && t[k] >= upper) --k;
            const double lower = std::max(until, t[k]);
            total += value(k, c) * (upper - lower);
            upper = lower;
          }
          f.push_back(total);
        }
      }
    }
    for (int j = channels; j < inputs; ++j) {
      int k = last;
      while (k > oldest && !(value(k, j) > 0)) --k;
      f.push_back(std::log1p(-t[k]));
    }
  }

  void follow(double* state, float span) {
    const double count = state[0] += 1;
    double *clock = state + 2, *channel = clock + 3, *seen = channel + size_t(6) * channels, *kept = seen + (inputs - channels);
    if (count > 1) clock[0] += span;  // clock: time since the first sample, its mean, its squares about the mean
    const double off = clock[0] - clock[1];
    clock[1] += off / count;
    clock[2] += off * (clock[0] - clock[1]);
    if (uneven) f.push_back(std::log1p(clock[0]));
    const size_t at = f.size();
    f.resize(at + size_t(6) * channels);
    for (int c = 0; c < channels; ++c) {
      double* s = channel + size_t(6) * c;  // mean, squares about it, smallest, largest, product with time, first
      const double v = fresh[c], d = v - s[0];
      s[0] += d / count;
      s[1] += d * (v - s[0]);
      s[2] = count > 1 ? std::min(s[2], v) : v;
      s[3] = count > 1 ? std::max(s[3], v) : v;
      s[4] += off * (v - s[0]);
      if (count == 1) s[5] = v;
      double* to = &f[at + c];
      to[0] = s[0];
      to[channels] = std::sqrt(s[1] / count);
      to[2 * channels] = s[2];
      to[3 * channels] = s[3];
      to[4 * channels] = s[4] / (clock[2] > 0 ? clock[2] : 1.0);
      to[5 * channels] = v - s[5];
    }
    for (int j = channels; j < inputs; ++j) f.push_back((seen[j - channels] += fresh[j]) / count);
    for (size_t k = 0; k < places.size(); ++k)
      for (int c = 0; c < channels; ++c) {
        double& value = kept[k * channels + c];
        if (count - 1 <= places[k]) value = fresh[c];
        f.push_back(value);
      }
  }

  void answer(double* to) {
    std::fill_n(to, answers, 0.0);
    const bool two = answers == 2 && !decode.mean;
    double* raw = to + two;
    if (trees) trees->add(f.data(), raw);
    if (linear) linear->add(f.data(), raw);
    if (decode.mean) {
      for (int k = 0; k < answers; ++k) {
        if (decode.change) to[k] += decode.change * double(fresh[decode.column]);
        to[k] = to[k] * decode.std->data()[k] + decode.mean->data()[k];
      }
      return;
    }
    for (int k = 0; k < answers; ++k) to[k] /= decode.temperature;
    to[decode.positive] += decode.shift;
    softmax(to, answers);
  }
};

}  // namespace

void bind_table(nb::module_& m) {
  nb::class_<Linear64>(m, "Linear64")
      .def(nb::init<Numbers, Numbers, Numbers, Numbers>(), nb::arg("mean"), nb::arg("scale"), nb::arg("weight"),
           nb::arg("bias"));
  nb::class_<Trees>(m, "Trees")
      .def(nb::init<Numbers, Indices, Indices, Numbers, Indices, Indices, Numbers>(), nb::arg("baseline"), nb::arg("roots"),
           nb::arg("feature"), nb::arg("threshold"), nb::arg("left"), nb::arg("right"), nb::arg("value"));
  nb::class_<Decode>(m, "Decode")
      .def(nb::init<Maybe<Doubles>, Maybe<Doubles>, int, double, double, double, int>(), nb::arg("mean").none(),
           nb::arg("std").none(), nb::arg("column"), nb::arg("change"), nb::arg("temperature"), nb::arg("shift"),
           nb::arg("positive"));
  nb::class_<Table>(m, "Table")
      .def(nb::init<Front, Doubles, int, std::vector<int>, int, bool, std::vector<int>, std::optional<Linear64>,
                    std::optional<Trees>, Decode, int, int>(),
           nb::arg("front"), nb::arg("memory"), nb::arg("lookback"), nb::arg("windows"), nb::arg("lags"), nb::arg("uneven"),
           nb::arg("places"), nb::arg("linear").none(), nb::arg("trees").none(), nb::arg("decode"), nb::arg("answers"),
           nb::arg("width"))
      .def("step", &Table::step, nb::arg("values"), nb::arg("elapsed").none(), nb::arg("out"),
           "Process one sample of each stream. Returns False, and does nothing, if the arguments are not valid.");
}

}  // namespace torchliquid
