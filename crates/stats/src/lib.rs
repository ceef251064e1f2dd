//! Pure statistics: samples, quantiles and what certifies them, paired tests, intervals, corrections, resampling.
//!
//! Everything here is a function of its arguments. This room knows no request, variant or unit, reads no clock and no
//! file, and draws random numbers only from a seed it is given. What cannot be computed is an `Option` or an error, never
//! a zero.

pub mod autocorrelation;
pub mod bootstrap;
pub mod certify;
pub mod change_point;
pub mod correlation;
pub mod ecdf;
pub mod fisher;
pub mod knee;
pub mod multiplicity;
mod num;
pub mod objective;
pub mod outliers;
pub mod paired;
pub mod pooled_ratio;
pub mod power;
pub mod proportion;
pub mod sample;
pub mod sequential;
pub mod sign_flip;
pub mod special;
pub mod tost;
pub mod welch;

pub use autocorrelation::{Autocorrelation, Placed, autocorrelated_t};
pub use bootstrap::{Interval, block_bootstrap_quantiles};
pub use certify::{Certification, Quantile, certify, smallest_certifying_n};
pub use change_point::{ChangePoint, change_points};
pub use correlation::correlation_time;
pub use ecdf::Ecdf;
pub use fisher::fisher_more_p;
pub use knee::{Knee, LoadPoint, knee};
pub use multiplicity::{benjamini_hochberg, holm};
pub use objective::{Decision, Exceeded};
pub use outliers::{Outlier, tukey_labels};
pub use paired::{PairedT, paired_t};
pub use pooled_ratio::{PooledBlock, PooledRatio, pooled_quantile_ratio};
pub use power::blocks_to_detect;
pub use proportion::{Proportion, mcnemar_exact_p};
pub use sample::{OrInfinite, Probability, ProbabilityError, Sample, SampleError, Summary};
pub use sequential::{Look, looks};
pub use sign_flip::sign_flip_p;
pub use special::{normal_cdf, normal_quantile, t_quantile, t_two_sided_p, t_upper_tail};
pub use tost::tost_p;
pub use welch::{WelchT, starts_to_detect, welch_t};

use servelab_random::SplitMix64;
