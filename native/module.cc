// The Python module torchliquid._native: checks shapes, releases the interpreter's lock and runs the kernels.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "arguments.h"
#include "dispatch.h"
#include "run.h"
#include "stepper.h"
#include "table.h"

namespace nb = nanobind;
using namespace torchliquid;

namespace {

// The class of a recurrence, without its constructor. `problem` checks the arguments; `kernels` are the kernels.
template <class Arguments, class Problem>
nb::class_<Arguments> recurrence(nb::module_& m, const char* name, Problem (*problem)(const Arguments&, Sequence),
                                 const Recurrence<Problem> (InstructionSet::*kernels)[2]) {
  return nb::class_<Arguments>(m, name)
      .def(
          "forward",
          [=](const Arguments& a, Out states, Maybe<Out> cells, int threads) {
            Problem p = problem(a, sequence(a.sequence, states, cells));
            nb::gil_scoped_release released;
            run(instruction_set().*kernels, p, threads, nullptr);
          },
          nb::arg("states").noconvert(), nb::arg("cells").noconvert().none(), nb::arg("threads"))
      .def(
          "backward",
          [=](const Arguments& a, Floats states, Maybe<Floats> cells, const Gradients& g, int threads) {
            Sequence s = sequence(a.sequence, states, cells);
            add_gradients(s, g);
            Problem p = problem(a, s);
            float* parameters = checked(g.parameters, {(instruction_set().*kernels)[0].parameters(p)}, "gradient of parameters");
            nb::gil_scoped_release released;
            run(instruction_set().*kernels, p, threads, parameters);
          },
          nb::arg("states"), nb::arg("cells").none(), nb::arg("gradients"), nb::arg("threads"));
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "Liquid recurrences over whole batches, float32 on the CPU; used through torchliquid.kernels.";
  nb::class_<SequenceArguments>(m, "Sequence")
      .def(nb::init<Floats, Floats, Floats, Maybe<Whole>, Maybe<Floats>, Maybe<Floats>, Maybe<Floats>, Maybe<Floats>>(), nb::arg("input"),
           nb::arg("timespan"), nb::arg("state"), nb::arg("lengths").none(), nb::arg("drive").none(),
           nb::arg("memory").none(), nb::arg("cell").none(), nb::arg("reset") = nb::none());
  nb::class_<Gradients>(m, "Gradients")
      .def(nb::init<Floats, Maybe<Floats>, Maybe<Out>, Maybe<Out>, Out, Maybe<Out>, Maybe<Out>, Out>(), nb::arg("states"),
           nb::arg("cells").none(), nb::arg("input").noconvert().none(), nb::arg("timespan").noconvert().none(),
           nb::arg("state").noconvert(), nb::arg("drive").noconvert().none(), nb::arg("cell").noconvert().none(),
           nb::arg("parameters").noconvert());
  recurrence(m, "Ltc", ltc, &InstructionSet::ltc)
      .def(nb::init<SequenceArguments, std::vector<Floats>, std::vector<Floats>, Whole, std::vector<Floats>, Whole, int,
                    float>(),
           nb::arg("sequence"), nb::arg("leak"), nb::arg("synapses"), nb::arg("synapse_index"), nb::arg("sensory"),
           nb::arg("sensory_index"), nb::arg("unfolds"), nb::arg("epsilon"));
  recurrence(m, "Cfc", cfc, &InstructionSet::cfc)
      .def(nb::init<SequenceArguments, std::vector<Floats>, std::vector<Floats>, std::vector<int>, std::string, std::string,
                    std::vector<Floats>>(),
           nb::arg("sequence"), nb::arg("backbone"), nb::arg("heads"), nb::arg("layer_sizes"), nb::arg("mode"),
           nb::arg("activation"), nb::arg("dropout"));
  recurrence(m, "Ctrnn", ctrnn, &InstructionSet::ctrnn)
      .def(nb::init<SequenceArguments, Floats, Floats, Floats, Maybe<Floats>, std::string, int>(), nb::arg("sequence"),
           nb::arg("drive"), nb::arg("recurrent"), nb::arg("bias"), nb::arg("rate").none(), nb::arg("solver"),
           nb::arg("unfolds"));
  recurrence(m, "Ctgru", ctgru, &InstructionSet::ctgru)
      .def(nb::init<SequenceArguments, Floats, Floats, Floats, Floats, int>(), nb::arg("sequence"), nb::arg("gates"),
           nb::arg("gates_bias"), nb::arg("signal"), nb::arg("signal_bias"), nb::arg("scales"));
  recurrence(m, "OdeRnn", ode_rnn, &InstructionSet::ode_rnn)
      .def(nb::init<SequenceArguments, std::vector<Floats>, std::vector<Floats>, std::string, int>(), nb::arg("sequence"),
           nb::arg("field"), nb::arg("update"), nb::arg("solver"), nb::arg("unfolds"));

  recurrence(m, "LrcSsm", lrcssm, &InstructionSet::lrcssm)
      .def(nb::init<SequenceArguments, std::vector<Floats>, Floats, std::vector<Floats>, bool>(), nb::arg("sequence"),
           nb::arg("synapses"), nb::arg("vleak"), nb::arg("elastance"), nb::arg("exponential"));

  nb::class_<StateSpaceArguments>(m, "StateSpace")
      .def(nb::init<Floats, Whole, Floats, Floats, Floats, Floats, Whole>(), nb::arg("fading"), nb::arg("which"),
           nb::arg("gain"), nb::arg("input"), nb::arg("read"), nb::arg("state"), nb::arg("sizes"))
      .def(
          "forward",
          [](const StateSpaceArguments& a, Out output, Out last) {
            StateSpace p = state_space(a, output, last);
            nb::gil_scoped_release released;
            instruction_set().state_space_forward(p);
          },
          nb::arg("output").noconvert(), nb::arg("last").noconvert())
      .def(
          "backward",
          [](const StateSpaceArguments& a, Floats output, Floats last, Out fading, Out gain, Out input, Out read, Out state) {
            StateSpace p = state_space(a, output, last);
            p.grad_output = p.output, p.grad_last = p.last;
            const int64_t K = int64_t(a.fading.shape(0)), P = int64_t(a.which.size());
            p.grad_fading = checked(fading, {K, 2, p.states, p.width}, "gradient of fading");
            p.grad_gain = checked(gain, {2, p.states, p.width}, "gradient of gain");
            p.grad_input = checked(input, {P, p.width}, "gradient of input");
            p.grad_read = checked(read, {2, p.states, p.width}, "gradient of read");
            p.grad_state = checked(state, {p.batch, 2, p.states, p.width}, "gradient of state");
            nb::gil_scoped_release released;
            instruction_set().state_space_backward(p);
          },
          nb::arg("grad_output"), nb::arg("grad_last"), nb::arg("grad_fading").noconvert(), nb::arg("grad_gain").noconvert(),
          nb::arg("grad_input").noconvert(), nb::arg("grad_read").noconvert(), nb::arg("grad_state").noconvert());

  nb::class_<GatedArguments>(m, "Gated")
      .def(nb::init<Floats, Floats, bool>(), nb::arg("weight"), nb::arg("bias"), nb::arg("lstm"));
  nb::class_<LinearArguments>(m, "Linear").def(nb::init<Floats, Floats>(), nb::arg("weight"), nb::arg("bias"));
  bind_stepper(m);
  bind_table(m);

  m.def(
      "instruction_sets",
      [] {
        std::vector<std::string> names;
        for (const InstructionSet* set : instruction_sets()) names.push_back(set->name);
        return names;
      },
      "Instruction sets of this processor that the kernels are compiled for, best first.");
  m.def(
      "multiply_adds", [](int64_t repeats) { return instruction_set().multiply_adds(repeats); }, nb::arg("repeats"),
      "Run only multiply-adds on one core, and return their number. Kernels are measured against this limit.");
  m.def("instruction_set", [] { return std::string(instruction_set().name); }, "The one in use.");
  m.def(
      "use_instruction_set",
      [](const std::string& name) {
        for (const InstructionSet* set : instruction_sets())
          if (name == set->name) {
            use_instruction_set(*set);
            return;
          }
        throw std::invalid_argument("no such instruction set here: " + name);
      },
      nb::arg("name"), "Select another one, to compare them.");
}
