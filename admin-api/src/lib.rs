//! The REST admin API: resources, their JSON, problem+json, and the `Control` trait that the broker answers.
