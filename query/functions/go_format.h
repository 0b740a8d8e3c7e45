#pragma once

#include <string>
#include <string_view>

namespace varve::query {

/// Print floats as Go does; messages and label values that users see depend on it.

/// Prints as strconv.FormatFloat(value, 'f', -1, 64): the shortest decimal without exponent.
std::string GoFormatF(double value);
/// Prints as fmt's %g: the shortest form, with an exponent below 1e-4 and from 1e6 on.
std::string GoFormatG(double value);
/// Prints as fmt's %f: six digits after the point.
std::string GoFormatFixed(double value);
/// Prints as OpenMetrics label values: like %g, with ".0" where it would look like an integer.
std::string OpenMetricsFloat(double value);

/// Compares as people sort: runs of digits by number, the rest by bytes. Returns whether `a`
/// comes before `b` (facette/natsort).
bool NaturalLess(std::string_view a, std::string_view b);

}  // namespace varve::query
