//! The words of progress: what a load does now, and how long it may still take. Pure.

use servelab_load::LiveSnapshot;
use servelab_schema::{Nanos, WallNanos};

fn time(value: Option<Nanos>) -> String {
    value.map_or_else(|| "–".to_owned(), |v| v.to_string())
}

/// `12 of 60 requests, 8 in flight, TTFT 120.00ms, TPOT 12.00ms, 2 FAILED`. Where time and no number ends the load there is nothing
/// that they are of.
pub(crate) fn live_words(live: &LiveSnapshot) -> String {
    let ended = live.measured_ended;
    let requests = match live.measured_planned {
        0 => format!("{ended} requests"),
        planned => format!("{ended} of {planned} requests"),
    };
    let failures = match live.failures() {
        0 => String::new(),
        failed => format!(", {failed} FAILED"),
    };
    format!(
        "{requests}, {} in flight, TTFT {}, TPOT {}{failures}",
        live.in_flight,
        time(live.ttft_p50),
        time(live.tpot_p50)
    )
}

/// What is left of a work of which `done` of `total` parts took so long, if the rest goes on like that; none before the first
/// part is done, since nothing is known yet, and after the last.
pub(crate) fn left(done: usize, total: usize, elapsed: WallNanos) -> Option<String> {
    left_within((done, total), elapsed, WallNanos::default())
}

/// The same where the next part has run for `running` besides: that much less, but all of the parts after it. None where that
/// part is the last and takes longer than the others did.
pub(super) fn left_within((done, total): (usize, usize), elapsed: WallNanos, running: WallNanos) -> Option<String> {
    let (done, rest) = (u64::try_from(done).ok()?, u64::try_from(total.checked_sub(done)?).ok()?);
    let each = elapsed.0.checked_div(done)?;
    let left = each.saturating_mul(rest).saturating_sub(running.0.min(each));
    // To the second: it is a guess.
    (rest > 0 && left > 0).then(|| span(left.div_ceil(1_000_000_000)))
}

/// What is left of a time; none where it is over.
pub(crate) fn left_of(whole: WallNanos, elapsed: WallNanos) -> Option<String> {
    let rest = whole.0.checked_sub(elapsed.0).filter(|rest| *rest > 0)?;
    Some(span(rest.div_ceil(1_000_000_000)))
}

/// A span in words that claim no more than seconds.
fn span(seconds: u64) -> String {
    if seconds < 60 {
        format!("{seconds}s")
    } else {
        WallNanos::from_secs(seconds).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said_once_it_is_known() {
        let after = |done, total, seconds| left(done, total, WallNanos::from_secs(seconds));
        assert_eq!(after(3, 4, 90).as_deref(), Some("30s"));
        assert_eq!(after(0, 40, 90), None, "nothing is known at the start");
        assert_eq!(after(3, 40, 90).as_deref(), Some("18m30s"));
        assert_eq!(after(40, 40, 90), None, "nothing is left at the end");
        assert_eq!(after(41, 40, 90), None);
    }

    #[test]
    fn a_time_runs_out() {
        let after = |seconds| left_of(WallNanos::from_secs(90), WallNanos::from_secs(seconds));
        assert_eq!(
            (after(0).as_deref(), after(60).as_deref(), after(90)),
            (Some("1m30s"), Some("30s"), None)
        );
    }

    #[test]
    fn a_load_without_a_number_is_of_nothing() {
        let mut live = LiveSnapshot {
            measured_ended: 45,
            in_flight: 8,
            ..LiveSnapshot::default()
        };
        assert_eq!(live_words(&live), "45 requests, 8 in flight, TTFT –, TPOT –");
        live.measured_planned = 60;
        live.ttft_p50 = Some(Nanos::from_millis(120));
        assert_eq!(
            live_words(&live),
            "45 of 60 requests, 8 in flight, TTFT 120.00ms, TPOT –"
        );
    }
}
