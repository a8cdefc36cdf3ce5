// Filters of lists and dicts, for the table of all filters in jinja_filters.cpp.
#pragma once

#include "text/jinja_builtins.h"

namespace plimsoll::jinja {

Value filter_attr(Interpreter&, const Value&, const Arguments&);
Value filter_batch(Interpreter&, const Value&, const Arguments&);
Value filter_dictsort(Interpreter&, const Value&, const Arguments&);
Value filter_first(Interpreter&, const Value&, const Arguments&);
Value filter_groupby(Interpreter&, const Value&, const Arguments&);
Value filter_items(Interpreter&, const Value&, const Arguments&);
Value filter_join(Interpreter&, const Value&, const Arguments&);
Value filter_last(Interpreter&, const Value&, const Arguments&);
Value filter_length(Interpreter&, const Value&, const Arguments&);
Value filter_list(Interpreter&, const Value&, const Arguments&);
Value filter_map(Interpreter&, const Value&, const Arguments&);
Value filter_max(Interpreter&, const Value&, const Arguments&);
Value filter_min(Interpreter&, const Value&, const Arguments&);
Value filter_reject(Interpreter&, const Value&, const Arguments&);
Value filter_rejectattr(Interpreter&, const Value&, const Arguments&);
Value filter_reverse(Interpreter&, const Value&, const Arguments&);
Value filter_select(Interpreter&, const Value&, const Arguments&);
Value filter_selectattr(Interpreter&, const Value&, const Arguments&);
Value filter_slice(Interpreter&, const Value&, const Arguments&);
Value filter_sort(Interpreter&, const Value&, const Arguments&);
Value filter_sum(Interpreter&, const Value&, const Arguments&);
Value filter_unique(Interpreter&, const Value&, const Arguments&);

}  // namespace plimsoll::jinja
