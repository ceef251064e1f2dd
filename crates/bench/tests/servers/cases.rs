//! Every case of every profile comes to the row that it expects.

use crate::{play::play, profile::Profile, script::Request};

/// Most small requests before a load.
const MOST_SMALL: usize = 6;

/// What a server refuses is found by few small requests, and no request of the load has it.
fn asked_little(seen: &[Request], profile: &Profile) {
    let completions = seen.iter().filter(|request| request.ask.ends_with("/completions"));
    let (small, measured): (Vec<&Request>, Vec<&Request>) = completions.partition(|request| request.is_small());
    assert!(
        small.len() <= MOST_SMALL,
        "{}: {} small requests",
        profile.server,
        small.len()
    );
    for request in measured {
        let refused = profile.refuses.iter().find(|refusal| refusal.holds(&request.body));
        assert!(refused.is_none(), "{}: {refused:?} in {}", profile.server, request.body);
    }
}

#[test]
fn every_server_is_measured_as_it_is() {
    let mut wrong = Vec::new();
    for profile in Profile::all() {
        for case in &profile.case {
            let played = play(&profile, case);
            let row = played.row();
            asked_little(&played.script.seen(), &profile);
            if row != case.expect {
                let examples = played
                    .answer
                    .as_ref()
                    .map(|a| a.results[0].figures.requests.examples.clone());
                wrong.push(format!(
                    "{} {} {}: {row:#?}\nexpected {:#?}\n{examples:?}",
                    profile.server, profile.version, case.stream, case.expect
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
