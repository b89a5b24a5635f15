// The first part of every live model: reads the arguments from Python and converts readings to inputs.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "arguments.h"

namespace torchliquid {

using Doubles = nb::ndarray<double, nb::c_contig, nb::device::cpu>;
using Flags = nb::ndarray<bool, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// A view of an array's memory by the buffer protocol, which is several times faster than DLPack.
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
  // To write `count` numbers of a kind, 'd' or 'f'.
  bool writable(nb::handle object, size_t count, char of) {
    return get(object, PyBUF_WRITABLE | PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) && items() == count && kind() == of;
  }
};

// Numbers of shape (rows, columns); of one row, (columns,) too.
inline bool read_numbers(nb::handle object, std::vector<double>& to, int rows, int columns) {
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

// The time since the previous sample: one number, one for each of n streams, or None.
class Elapsed {
  std::vector<double> each;
  double one = NAN;
  bool several = false;

 public:
  bool read(nb::handle object, int n) {
    several = false, one = NAN;
    if (PyFloat_Check(object.ptr()) || PyLong_Check(object.ptr())) {
      one = PyFloat_AsDouble(object.ptr());
      return PyErr_Occurred() ? (PyErr_Clear(), false) : true;
    }
    if (object.is_none()) return true;
    several = true;
    return read_numbers(object, each, 1, n);
  }
  double of(int i) const { return several ? each[i] : one; }
};

// From readings to inputs; `held` and `started` are state.
struct Front {
  Doubles mean, std;  // (C,)
  double time_scale, limit;
  bool with_mask;
  Doubles held;  // (n, C)
  Flags started;
  Maybe<Flags> untold;  // (C,) channels without a mask; none: all have one

  void check(int n, int channels) const {
    checked(mean, {channels}, "mean");
    checked(std, {channels}, "std");
    checked(held, {n, channels}, "held");
    checked(started, {n}, "started");
    checked(untold, {channels}, "untold");
  }

  // Writes the inputs of stream i and returns its span.
  float take(int i, const double* reading, double elapsed, float* to) {
    const int channels = int(mean.size());
    double* last = held.data() + size_t(i) * channels;
    for (int j = 0; j < channels; ++j) {
      const double scaled = (reading[j] - mean.data()[j]) / std.data()[j];
      const bool observed = std::fabs(scaled) <= limit;
      if (observed) last[j] = scaled;
      to[j] = float(last[j]);
      if (with_mask) to[channels + j] = observed || (untold && untold->data()[j]);
    }
    const float span = float(elapsed / time_scale);
    const bool first = !started.data()[i];
    started.data()[i] = true;
    return !first && span >= 0 && std::isfinite(span) ? span : 1.0f;
  }
};

inline void softmax(double* x, int n) {
  const double largest = *std::max_element(x, x + n);
  double sum = 0;
  for (int k = 0; k < n; ++k) sum += x[k] = std::exp(x[k] - largest);
  for (int k = 0; k < n; ++k) x[k] /= sum;
}

}  // namespace torchliquid
