//! Which processes an engine is: what tells one that was restarted from one that went on.

use std::{collections::BTreeSet, fmt};

/// A process of this machine that no later one is mistaken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId {
    /// Its id, which another process may have later.
    pub pid: i32,
    /// When it began, clock ticks since the machine started.
    pub started: u64,
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)
    }
}

/// Which processes an engine is, as far as can be seen: what is not seen is empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Identity {
    /// The processes that serve its ports, where they are on this machine and may be looked into.
    pub serving: BTreeSet<ProcessId>,
    /// When its container was started and how often restarted, as Docker says it.
    pub container: Option<String>,
    /// When the process that gave its page of metrics began, Unix seconds.
    pub page_start_s: Option<f64>,
}

impl Identity {
    /// True where a restart between this look and a later one shows: both of them saw its processes, its container, or the start
    /// that its page names.
    #[must_use]
    pub fn would_show_restart(&self, later: &Self) -> bool {
        (!self.serving.is_empty() && !later.serving.is_empty())
            || (self.container.is_some() && later.container.is_some())
            || (self.page_start_s.is_some() && later.page_start_s.is_some())
    }

    /// What shows that the engine was restarted between this look and a later one; none where nothing does.
    #[must_use]
    pub fn restarted(&self, later: &Self) -> Option<String> {
        let gone: BTreeSet<_> = self.serving.difference(&later.serving).collect();
        let new: BTreeSet<_> = later.serving.difference(&self.serving).collect();
        // One that only ended is a death and one that only came a helper: neither is a restart.
        if let (Some(old), Some(other)) = (gone.first(), new.first()) {
            return Some(format!("process {other} serves its port in place of {old}"));
        }
        if let (Some(before), Some(after)) = (&self.container, &later.container)
            && before != after
        {
            return Some(format!("its container was started at {after}, before at {before}"));
        }
        // Of several processes behind one port, each has its own start, and any of them may have answered.
        let may_differ = self.serving.len() > 1 && gone.is_empty();
        match (self.page_start_s, later.page_start_s) {
            (Some(before), Some(after)) if before.to_bits() != after.to_bits() && !may_differ => Some(format!(
                "its page of metrics says that its process began at {after}, before at {before} (Unix seconds)"
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(serving: &[(i32, u64)], container: Option<&str>, page_start_s: Option<f64>) -> Identity {
        Identity {
            serving: serving
                .iter()
                .map(|&(pid, started)| ProcessId { pid, started })
                .collect(),
            container: container.map(str::to_owned),
            page_start_s,
        }
    }

    fn check(before: &Identity, later: &Identity, expected: Option<&str>) {
        let said = before.restarted(later);
        match expected {
            Some(words) => assert!(said.as_ref().is_some_and(|s| s.contains(words)), "{said:?}"),
            None => assert_eq!(said, None),
        }
    }

    #[test]
    fn what_shows_a_restart_and_what_does_not() {
        let none = Identity::default();
        check(&none, &none, None);
        let one = of(&[(7, 1)], None, Some(1.0));
        check(&one, &one, None);
        check(&one, &of(&[(7, 2)], None, None), Some("in place of 7"));
        check(
            &one,
            &of(&[(8, 2)], None, None),
            Some("process 8 serves its port in place of 7"),
        );
        check(&one, &of(&[], None, None), None);
        check(&one, &of(&[(7, 1), (9, 5)], None, Some(1.0)), None);
        check(&one, &of(&[(7, 1)], None, Some(2.0)), Some("began at 2, before at 1"));
        check(
            &of(&[], None, Some(1.0)),
            &of(&[], None, Some(2.0)),
            Some("page of metrics"),
        );
        let two = [(7, 1), (8, 1)];
        check(&of(&two, None, Some(1.0)), &of(&two, None, Some(2.0)), None);
        let boxed = |at: &str| of(&[], Some(at), None);
        check(&boxed("10:00 0"), &boxed("10:05 1"), Some("started at 10:05 1"));
        check(&boxed("10:00 0"), &none, None);
    }

    #[test]
    fn a_restart_shows_where_both_looks_saw_the_same_thing() {
        let none = Identity::default();
        let [served, boxed, paged] = [
            of(&[(7, 1)], None, None),
            of(&[], Some("10:00 0"), None),
            of(&[], None, Some(1.0)),
        ];
        for seen in [&served, &boxed, &paged] {
            assert!(seen.would_show_restart(seen), "{seen:?}");
            assert!(
                !seen.would_show_restart(&none) && !none.would_show_restart(seen),
                "{seen:?}"
            );
        }
        assert!(!none.would_show_restart(&none) && !served.would_show_restart(&paged));
    }
}
