//! Loads: how many requests are in flight, or when they arrive.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

macro_rules! positive {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "f64", into = "f64")]
        #[schemars(with = "f64")]
        pub struct $name(f64);

        impl $name {
            /// A checked value.
            ///
            /// # Errors
            /// Refuses NaN, infinities, zero and negative numbers.
            pub fn new(value: f64) -> Result<Self, String> {
                if value.is_finite() && value > 0.0 {
                    Ok(Self(value))
                } else {
                    Err(format!(concat!("{} is no ", $what, "; give a finite number above 0"), value))
                }
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = String;
            fn try_from(value: f64) -> Result<Self, String> {
                Self::new(value)
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> f64 {
                value.0
            }
        }
    };
}

positive!(
    /// Requests per second of engine time; finite and above 0.
    Rate, "rate");
positive!(
    /// Shape parameter of gamma-distributed gaps; 1 is Poisson, below 1 burstier, above 1 more even.
    Shape, "gamma shape");

/// When requests of an open loop arrive.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Arrivals {
    /// Equal gaps.
    Constant,
    /// Exponential gaps.
    Poisson,
    /// Gamma-distributed gaps with the same mean.
    Gamma {
        /// Shape of the gamma distribution.
        shape: Shape,
    },
    /// `size` requests at once, then a gap that keeps the mean rate.
    Burst {
        /// Requests that leave together.
        size: NonZeroU32,
    },
}

/// How load is put on an engine.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Load {
    /// A fixed number of requests in flight: one ends, the next is sent.
    Closed {
        /// Requests in flight.
        concurrency: NonZeroU32,
    },
    /// Requests arrive on a schedule and never wait for answers.
    Open {
        /// Mean arrivals per second of engine time.
        rate_per_s: Rate,
        /// The arrival process.
        arrivals: Arrivals,
    },
}
