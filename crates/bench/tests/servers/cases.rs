//! Every case of every profile comes to the row that it expects.

use crate::{play::play, profile::Profile};

#[test]
fn every_server_is_measured_as_it_is() {
    let mut wrong = Vec::new();
    for profile in Profile::all() {
        for case in &profile.case {
            let played = play(&profile, case);
            let row = played.row();
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
