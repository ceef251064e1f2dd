//! A run that went on: the records of its sessions, the plan that the last of them executed, and the seals before.
//!
//! What an earlier fingerprint stood for is checked for ever: the manifest that it is of lies in the session after it, and every file
//! which that one lists must still be there with the same bytes, compressed or as it was.

use crate::report::{Break, Breaks, Kind};
use servelab_evidence::names;
use servelab_schema::{Plan, RunManifest, SealedFile, SessionRecord, Sha256Hex};
use std::collections::BTreeMap;

/// What lies in the folders of sessions, by their number.
#[derive(Debug, Default)]
pub(crate) struct Sessions<'m> {
    pub(crate) records: BTreeMap<u32, (&'m SealedFile, SessionRecord)>,
    pub(crate) plans: BTreeMap<u32, (&'m SealedFile, Plan)>,
    pub(crate) earlier: BTreeMap<u32, (&'m SealedFile, RunManifest)>,
}

/// What a file of a session's folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Record,
    Plan,
    Environment,
    Events,
    EarlierManifest,
    EarlierFindings,
    EarlierFingerprint,
    Torn,
}

/// The session and the part that a path is; none where no servelab writes it.
pub(crate) fn part(path: &str) -> Option<(u32, Part)> {
    let (number, name) = path.strip_prefix(names::SESSIONS)?.strip_prefix('/')?.split_once('/')?;
    let session: u32 = number
        .parse()
        .ok()
        .filter(|n: &u32| *n >= 2 && n.to_string() == number)?;
    let part = match name.split_once('/') {
        None => match name {
            names::SESSION => Part::Record,
            names::PLAN => Part::Plan,
            names::ENVIRONMENT => Part::Environment,
            names::EVENTS => Part::Events,
            _ if name.ends_with(names::TORN) => Part::Torn,
            _ => return None,
        },
        Some((names::EARLIER, names::MANIFEST)) => Part::EarlierManifest,
        Some((names::EARLIER, names::FINDINGS)) => Part::EarlierFindings,
        Some((names::EARLIER, names::FINGERPRINT)) => Part::EarlierFingerprint,
        Some(_) => return None,
    };
    Some((session, part))
}

/// What a fingerprint of this manifest looks like, as a hash of its file.
pub(crate) fn note_sha256(fingerprint: &Sha256Hex) -> Sha256Hex {
    use sha2::{Digest, Sha256};
    let note = format!("{fingerprint}  {}\n", names::MANIFEST);
    Sha256Hex::from_bytes(Sha256::digest(note).into())
}

impl Sessions<'_> {
    /// Holds the sessions against the manifest.
    pub(crate) fn check(&self, m: &RunManifest, breaks: &mut Breaks) {
        let listed: BTreeMap<&str, &SealedFile> = m.files.iter().map(|f| (f.path.as_str(), f)).collect();
        let mut contradicts = |file: &str, pointer: &str, what: String| {
            breaks.add(Break::inconsistent(Kind::Contradiction, file, what).at(pointer));
        };
        let own: Vec<&SessionRecord> = self.records.values().map(|(_, record)| record).collect();
        if own != m.sessions.iter().collect::<Vec<_>>() {
            let what = format!(
                "its {} sessions are not the {} of {}/",
                m.sessions.len(),
                own.len(),
                names::SESSIONS
            );
            contradicts(names::MANIFEST, "/sessions", what);
        }
        let mut plan = listed.get(names::PLAN).map(|f| &f.sha256);
        for (expected, (number, (file, record))) in (2..).zip(&self.records) {
            if *number != expected || record.session.get() != expected {
                contradicts(&file.path, "/session", format!("it should be session {expected}"));
            }
            plan = self.plans.get(number).map(|(f, _)| &f.sha256).or(plan);
            if plan != Some(&record.plan_sha256) {
                contradicts(
                    &file.path,
                    "/plan_sha256",
                    "it is not that of the plan it executes".to_owned(),
                );
            }
            let earlier = self.earlier.get(number);
            if earlier.map(|(f, _)| &f.sha256) != record.earlier.as_ref() {
                let what = "it is not the fingerprint of the seal in its folder".to_owned();
                contradicts(&file.path, "/earlier", what);
            }
            let Some((file, earlier)) = earlier else { continue };
            let folder = file.path.strip_suffix(names::MANIFEST).unwrap_or_default();
            let note = listed.get(format!("{folder}{}", names::FINGERPRINT).as_str());
            if note.map(|f| &f.sha256) != Some(&note_sha256(&file.sha256)) {
                contradicts(&file.path, "", "the fingerprint beside it is not its own".to_owned());
            }
            for old in &earlier.files {
                let moved = format!("{folder}{}", names::FINDINGS);
                let path = if old.path == names::FINDINGS {
                    moved.as_str()
                } else {
                    old.path.as_str()
                };
                let is_there = listed.get(path).is_some_and(|f| f.sha256 == old.sha256);
                let packed = listed.get(format!("{path}{}", crate::inventory::PACKED).as_str());
                let is_packed = packed
                    .and_then(|f| f.unpacked.as_ref())
                    .is_some_and(|u| u.sha256 == old.sha256);
                if !is_there && !is_packed {
                    let what = format!("what it lists as {} is not there any more as it was", old.path);
                    contradicts(&file.path, "/files", what);
                }
            }
        }
        let strays = self.plans.keys().chain(self.earlier.keys());
        for number in strays.filter(|n| !self.records.contains_key(n)) {
            let folder = format!("{}/{number}", names::SESSIONS);
            contradicts(&folder, "", "a session without its session.json".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_servelab_writes_is_a_part() {
        assert_eq!(part("sessions/2/plan.json"), Some((2, Part::Plan)));
        assert_eq!(
            part("sessions/12/earlier/run_manifest.json"),
            Some((12, Part::EarlierManifest))
        );
        for strange in [
            "sessions/1/plan.json",
            "sessions/02/plan.json",
            "sessions/2/notes.txt",
            "sessions/2/earlier/plan.json",
            "sessions/plan.json",
            "sessions2/2/plan.json",
        ] {
            assert_eq!(part(strange), None, "{strange}");
        }
    }
}
