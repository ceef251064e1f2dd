//! Waiting, in engine time.
//!
//! Arrivals wait on a `timerfd` with an absolute `CLOCK_MONOTONIC` deadline, which the event loop sees as any other
//! descriptor: tens of microseconds late at most on an idle machine, where tokio's own timer is a millisecond wheel. The probe's
//! grid is such a descriptor too. Timeouts use that wheel: they are long, and being a millisecond late costs nothing because
//! the attempt compares exact stamps.

use crate::clock::{TrialClock, monotonic};
use rustix::{
    fd::OwnedFd,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime},
};
use servelab_schema::{Nanos, TrialInstant, WallInstant, WallNanos};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::Sleep,
};

/// A `timerfd` of the event loop.
#[derive(Debug)]
struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    /// Must be called inside the runtime that will wait.
    fn new() -> io::Result<Self> {
        let fd = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        #[expect(
            deprecated,
            reason = "its successor is `unsafe`, which this workspace forbids; an OwnedFd keeps that successor's contract"
        )]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Self(fd))
    }

    /// Fires at a monotonic stamp and then again every `interval_ns`; 0 = never again.
    fn set(&self, at: WallInstant, interval: WallNanos) -> io::Result<()> {
        let spec = Itimerspec {
            it_interval: timespec(interval.0),
            it_value: timespec(at.0),
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &spec)?;
        Ok(())
    }

    /// Waits until it has fired.
    async fn fired(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        // Reading the number of expirations is what makes the descriptor wait again.
        let mut count = [0_u8; 8];
        match rustix::io::read(self.0.get_ref(), &mut count) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }
}

fn timespec(ns: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(ns % 1_000_000_000).unwrap_or(0),
    }
}

/// Wakes the loop on a fixed grid. The kernel keeps the grid: a late wake-up moves none of those that follow.
#[derive(Debug)]
pub(crate) struct Beat(Timer);

impl Beat {
    /// A grid whose first tick is one period after `start_ns`, a monotonic stamp. Must be called inside the runtime that will
    /// wait.
    pub(crate) fn new(start: WallInstant, period: WallNanos) -> io::Result<Self> {
        let timer = Timer::new()?;
        timer.set(start.after(period), period)?;
        Ok(Self(timer))
    }

    /// Waits for the next tick; several that have passed meanwhile are one.
    pub(crate) async fn next(&self) -> io::Result<()> {
        self.0.fired().await
    }
}

/// An alarm clock for arrivals.
#[derive(Debug)]
pub(crate) struct Pacer {
    timer: Timer,
    clock: TrialClock,
}

impl Pacer {
    /// Must be called inside the runtime that will wait.
    pub(crate) fn new(clock: TrialClock) -> io::Result<Self> {
        let timer = Timer::new()?;
        Ok(Self { timer, clock })
    }

    /// Waits until engine time `at`. May be dropped while it waits; one caller at a time.
    pub(crate) async fn wait_until(&self, at: TrialInstant) -> io::Result<()> {
        let due = self.clock.moment(at);
        while monotonic() < due {
            self.timer.set(due, WallNanos(0))?;
            self.timer.fired().await?;
        }
        Ok(())
    }
}

/// The deadline of whatever a connection is waiting for. It moves with every read and every request, so the timer behind it
/// is re-armed only when it fires too early or must fire sooner: seldom, as timeouts are long.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    armed: Option<(TrialInstant, Pin<Box<Sleep>>)>,
}

impl Alarm {
    /// Ready once engine time is past `deadline`.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, clock: &TrialClock, deadline: TrialInstant) -> Poll<()> {
        // One nanosecond more, so that the deadline has passed and is not merely reached.
        let sleep = || Box::pin(tokio::time::sleep(clock.until(deadline.after(Nanos(1)))));
        let (armed, timer) = self.armed.get_or_insert_with(|| (deadline, sleep()));
        if deadline < *armed {
            (*armed, *timer) = (deadline, sleep());
        }
        while timer.as_mut().poll(cx).is_ready() {
            if clock.now() > deadline {
                // What has fired must not be polled again.
                self.armed = None;
                return Poll::Ready(());
            }
            (*armed, *timer) = (deadline, sleep());
        }
        Poll::Pending
    }
}
