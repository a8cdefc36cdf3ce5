// The module plimsoll._native: classes of model.h, and errors as plimsoll's exceptions.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include "base/bytes.h"
#include "base/cpu.h"
#include "base/error.h"
#include "model.h"

namespace {

using namespace plimsoll;
using namespace plimsoll::python;
using namespace nanobind::literals;

void raise(const Error& error) {
  const nb::object made = nb::module_::import_("plimsoll._errors")
                              .attr("make")(std::string(plimsoll::name(error.code())),
                                            error.message(), error.hint());
  PyErr_SetObject(made.type().ptr(), made.ptr());
}

void translate(const std::exception_ptr& thrown, void*) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    try {
      raise(error);
    } catch (nb::python_error& other) {
      other.restore();
    }
  }
}

}  // namespace

NB_MODULE(_native, module) {
  remember_main_thread();
  nb::register_exception_translator(translate);
  module.attr("version") = PLIMSOLL_VERSION;
  module.def("parse_bytes", [](const std::string& text) { return parse_bytes(text); });
  module.def("instruction_set", [] { return std::string(plimsoll::name(choose_isa())); });

  nb::class_<Request>(module, "Request")
      .def(nb::init<>())
      .def_rw("text", &Request::text)
      .def_rw("messages", &Request::messages)
      .def_rw("tools", &Request::tools)
      .def_rw("tokens", &Request::tokens)
      .def_rw("raw", &Request::raw)
      .def_rw("thinking", &Request::thinking, nb::arg().none())
      .def_rw("max_tokens", &Request::max_tokens)
      .def_rw("stops", &Request::stops)
      .def_rw("temperature", &Request::temperature, nb::arg().none())
      .def_rw("top_p", &Request::top_p, nb::arg().none())
      .def_rw("min_p", &Request::min_p, nb::arg().none())
      .def_rw("repeat_penalty", &Request::repeat_penalty, nb::arg().none())
      .def_rw("top_k", &Request::top_k, nb::arg().none())
      .def_rw("seed", &Request::seed, nb::arg().none());

  nb::class_<NativeModel>(module, "Model")
      .def(nb::init<const std::string&, std::optional<std::uint64_t>, int>(), "path"_a,
           "memory"_a.none(), "threads"_a)
      .def("close", &NativeModel::close)
      .def_prop_ro("closed", &NativeModel::is_closed)
      .def_prop_ro("loaded", &NativeModel::is_loaded)
      .def("plan", &NativeModel::plan, "context"_a.none(), "sessions"_a, "speed"_a, "kv"_a)
      .def("load", &NativeModel::load, "context"_a.none(), "sessions"_a, "speed"_a, "kv"_a, "plan"_a, "keep"_a,
           "progress"_a.none(), "if_needed"_a)
      .def("move_line", &NativeModel::move_line, "memory"_a, "progress"_a.none())
      .def("open_session", &NativeModel::open_session, "shared"_a)
      .def("tokenize", &NativeModel::tokenize, "text"_a, "special"_a)
      .def("detokenize", &NativeModel::detokenize, "tokens"_a, "special"_a)
      .def("memory", &NativeModel::memory)
      .def("take_notices", &NativeModel::take_notices)
      .def_prop_ro("name", &NativeModel::name)
      .def_prop_ro("path", &NativeModel::path)
      .def_prop_ro("vocabulary_size", &NativeModel::vocabulary_size)
      .def_prop_ro("trained_context", &NativeModel::trained_context)
      .def_prop_ro("context", &NativeModel::context);

  nb::class_<NativeStream>(module, "Stream")
      .def("step", &NativeStream::step, "progress"_a.none())
      .def("cancel", &NativeStream::cancel)
      .def("answer", &NativeStream::answer);

  nb::class_<NativeSession>(module, "Session")
      .def("close", &NativeSession::close)
      .def_prop_ro("closed", &NativeSession::is_closed)
      .def("append", &NativeSession::append, "tokens"_a, "logits"_a.none())
      .def("truncate", &NativeSession::truncate, "length"_a)
      .def_prop_ro("tokens", &NativeSession::tokens)
      .def_prop_ro("length", &NativeSession::length)
      .def_prop_ro("context", &NativeSession::context)
      .def("ask", &NativeSession::ask, "request"_a, "progress"_a.none())
      .def("stream", &NativeSession::stream, "request"_a);
}
