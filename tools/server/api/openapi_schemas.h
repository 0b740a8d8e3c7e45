#pragma once

#include <string_view>

namespace varve::api {

/// The `components` of the API's description (YAML): what answers are made of. Each schema named
/// there can be referred to as `#/components/schemas/NAME`.
std::string_view OpenApiComponents();

}  // namespace varve::api
