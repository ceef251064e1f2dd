//! Which server a variant is, where engines were up before: another one than its control's, or the same under a second address.
//!
//! A variant that is a server differs from its control by which server answers: there is no flag that could have been ignored.
//! What can go wrong is that both addresses lead to one server. Processes of this machine and the start that a page of metrics
//! names tell; where neither is seen, nobody here can tell, and that is said.

use servelab_schema::{
    Check, CheckResult, EngineRecord, ServerShown, Treatment, VariantId,
    findings::{ServerFindings, WhichServer},
};
use std::collections::BTreeSet;

/// What an arm's trials showed of its server, together.
#[derive(Debug, Default)]
struct Shown<'r> {
    processes: BTreeSet<&'r str>,
    /// Bits of the starts: two pages with two values are of two processes.
    page_starts: BTreeSet<u64>,
}

impl<'r> Shown<'r> {
    fn of(starts: &[&'r EngineRecord]) -> Self {
        let servers = || starts.iter().filter_map(|s| s.server.as_ref());
        Self {
            processes: servers().flat_map(|s| &s.processes).map(String::as_str).collect(),
            page_starts: servers().filter_map(|s| s.page_start_s).map(f64::to_bits).collect(),
        }
    }
}

/// Two sets of what may not have been seen.
fn share<T: Ord>(a: &BTreeSet<T>, b: &BTreeSet<T>) -> Option<bool> {
    (!a.is_empty() && !b.is_empty()).then(|| !a.is_disjoint(b))
}

/// Whether the server of an arm is another one than its control's, from every trial of both.
pub(crate) fn which(own: &[&EngineRecord], control: &[&EngineRecord]) -> WhichServer {
    let (own, control) = (Shown::of(own), Shown::of(control));
    let same_page = share(&own.page_starts, &control.page_starts);
    match (share(&own.processes, &control.processes), same_page) {
        (Some(false), _) | (_, Some(false)) => WhichServer::Another,
        (Some(true), Some(true)) => WhichServer::Same,
        (Some(true), None) => WhichServer::OneProcess,
        // Two processes elsewhere may have begun in the same hundredth of a second.
        (None, Some(true) | None) => WhichServer::Unknown,
    }
}

/// What that says of the treatment.
pub(crate) const fn treatment(which: WhichServer) -> Treatment {
    match which {
        WhichServer::Another => Treatment::Confirmed,
        WhichServer::Same => Treatment::NoOp,
        WhichServer::OneProcess | WhichServer::Unknown => Treatment::Unobservable,
    }
}

/// The evidence for it, in words.
pub(crate) fn check(which: WhichServer, control: &VariantId) -> Check {
    let (found, result) = match which {
        WhichServer::Another => (Some("another process"), CheckResult::Found),
        WhichServer::Same => (
            Some("the same processes with the same start under both addresses"),
            CheckResult::Differs,
        ),
        WhichServer::OneProcess => (
            Some("one process serves both addresses: one server, or a proxy before two"),
            CheckResult::Unknown,
        ),
        WhichServer::Unknown => (None, CheckResult::Unknown),
    };
    Check {
        expected: format!("another server than that of {control}"),
        found: found.map(str::to_owned),
        result,
        field: None,
        told: false,
    }
}

/// The server of an arm; none where servelab started its engines, or no trial got to one. `control` are the control's starts
/// where the arm is a server of its own.
pub(crate) fn server(own: &[&EngineRecord], control: Option<&[&EngineRecord]>) -> Option<ServerFindings> {
    let shown: Vec<&ServerShown> = own.iter().filter_map(|s| s.server.as_ref()).collect();
    let texts = |of: fn(&EngineRecord) -> Option<&String>| {
        let said: BTreeSet<String> = own.iter().filter_map(|s| of(s)).cloned().collect();
        said.into_iter().collect()
    };
    let contexts: BTreeSet<u32> = shown.iter().filter_map(|s| s.context_tokens).map(u32::from).collect();
    Some(ServerFindings {
        url: shown.first()?.url.clone(),
        versions: texts(|s| s.version.as_ref()),
        models: texts(|s| s.served_model.as_ref()),
        context_tokens: contexts.into_iter().collect(),
        beside_control: control.map(|control| which(own, control)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::engine;

    fn seen(processes: &[&str], page_start_s: Option<f64>) -> EngineRecord {
        EngineRecord {
            server: Some(ServerShown {
                url: "http://127.0.0.1:1".into(),
                processes: processes.iter().map(|p| (*p).to_owned()).collect(),
                page_start_s,
                context_tokens: None,
            }),
            ..engine("B", 1)
        }
    }

    fn check(own: &[&EngineRecord], control: &[&EngineRecord], expected: WhichServer) {
        assert_eq!(which(own, control), expected, "{own:?} {control:?}");
        assert_eq!(which(control, own), expected, "the other way round");
    }

    #[test]
    fn which_server_it_is() {
        use WhichServer::{Another, OneProcess, Same, Unknown};
        let (seven, eight) = (seen(&["7@1"], None), seen(&["8@1"], None));
        check(&[&seven], &[&eight], Another);
        check(&[&seven], &[&seven], OneProcess);
        let [at_five, at_six] = [5.0, 6.0].map(|start| seen(&["7@1"], Some(start)));
        check(&[&at_five], &[&at_five], Same);
        // A proxy with two servers behind it.
        check(&[&at_five], &[&at_six], Another);
        let [far_five, far_six, far] = [Some(5.0), Some(6.0), None].map(|start| seen(&[], start));
        check(&[&far_five], &[&far_six], Another);
        check(&[&far_five], &[&far_five], Unknown);
        check(&[&far], &[&seven], Unknown);
        check(&[], &[&seven], Unknown);
        // Restarted between two blocks, it is still the same server.
        let again = seen(&["9@3"], Some(7.0));
        check(&[&at_five, &again], &[&again], Same);
        check(&[&at_five, &again], &[&eight], Another);
    }

    #[test]
    fn a_server_is_described_by_what_all_trials_said() {
        let mut first = seen(&["7@1"], None);
        first.version = Some("1.0".into());
        let mut second = first.clone();
        second.version = Some("1.1".into());
        let found = server(&[&first, &second, &first], None).unwrap();
        assert_eq!(
            (found.versions.join(" "), found.beside_control),
            ("1.0 1.1".into(), None)
        );
        assert!(server(&[&engine("C1", 1)], None).is_none());
        let other = seen(&["8@1"], None);
        let beside = server(&[&first], Some(&[&other])).unwrap().beside_control;
        assert_eq!(beside, Some(WhichServer::Another));
    }
}
