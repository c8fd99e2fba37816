//! Table 2.1 of the requirements, row by row, in both profiles with both timings. Letters: see `one`.

use bellwether_election::{Candidacy, Input, Memory, Settings};
use bellwether_wire::control::ElectionMessage;

use crate::one::{MS, OWN, One, REIGN, classic, epoch, fast};

#[test]
fn e1_a_heartbeat_of_the_known_leader_restarts_the_silence() {
    for one in One::all() {
        let mut one = one.known();
        let silence = one.timing().silence();
        for _ in 0..5 {
            one.pass(silence - MS);
            assert_eq!(one.phase(), "known");
            one.hear_alive('l', REIGN);
        }
        one.pass_until(silence * 2, "unknown");
    }
}

/// ELECT-08, ELECT-09, ELECT-10.
#[test]
fn e2_the_trigger_fires_at_the_threshold_and_not_before() {
    for one in One::all() {
        let mut one = one.known();
        let timing = one.timing();
        assert!(one.pass(timing.silence() - MS).claims().is_empty());
        assert_eq!(one.phase(), "known");
        // Two candidates are stronger, so in the profile `claim` two slots are added.
        if !one.is_quiet() {
            assert!(one.pass(timing.rank_wait(2)).claims().is_empty());
            assert_eq!(one.phase(), "known");
        }
        let said = one.pass(MS);
        assert_eq!(one.phase(), "unknown");
        assert_eq!(
            said.claims(),
            if one.is_quiet() {
                vec![]
            } else {
                vec![REIGN + 1]
            }
        );
    }
}

#[test]
fn e3_a_heartbeat_of_a_later_leader_is_adopted() {
    for one in One::all() {
        let mut one = one.known();
        one.hear_alive('w', REIGN + 1);
        assert_eq!(one.phase(), "known");
        assert_eq!(one.election.reign(), Some(epoch('w', REIGN + 1)));
    }
}

#[test]
fn e4_a_better_claim_is_conceded_to_while_a_leader_is_known() {
    for one in One::all() {
        let mut one = one.known();
        assert!(one.hear_claim('a', REIGN + 1).is_silent());
        assert_eq!(one.phase(), "concession");
    }
}

#[test]
fn e5_a_weaker_claim_leaves_the_silence_running() {
    for one in One::all() {
        let mut one = one.known();
        let silence = one.timing().silence();
        one.pass(one.timing().heartbeat());
        one.hear_alive('l', REIGN);
        one.pass(one.timing().heartbeat());
        assert!(one.hear_claim('w', REIGN + 1).is_silent());
        assert_eq!(one.phase(), "known");
        one.pass(silence - one.timing().heartbeat() - MS);
        assert_eq!(one.phase(), "known");
        let slots = if one.is_quiet() { 0 } else { 2 };
        one.pass(one.timing().rank_wait(slots) + MS);
        assert_eq!(one.phase(), "unknown");
    }
}

/// ELECT-15.
#[test]
fn e6_a_better_claim_ends_the_claim_wait() {
    for one in One::all() {
        let mut one = one.unknown();
        assert!(one.hear_claim('a', REIGN + 2).is_silent());
        assert_eq!(one.phase(), "concession");
        let waits = one.timing().vote(true) + one.timing().silence() - MS;
        assert!(one.pass(waits).claims().is_empty());
    }
}

#[test]
fn e7_a_weaker_claim_is_noted_and_the_claim_wait_goes_on() {
    for one in One::all() {
        let mut one = one.unknown();
        let before: Vec<_> = one.election.pending().collect();
        assert!(one.hear_claim('w', REIGN + 3).is_silent());
        assert_eq!(one.phase(), "unknown");
        assert!(
            before
                .iter()
                .all(|due| one.election.pending().any(|now| now == *due))
        );
        let said = one.pass_until(20_000 * MS, "voting");
        assert_eq!(said.claims(), [REIGN + 4], "above what was noted");
    }
}

#[test]
fn e8_the_end_of_the_claim_wait_opens_the_vote_with_a_claim() {
    for one in One::all() {
        let mut one = one.unknown();
        let said = one.pass_until(10_000 * MS, "voting");
        assert_eq!(said.claims(), [REIGN + 1]);
    }
}

#[test]
fn e9_a_heartbeat_ends_the_search() {
    for from in ['l', 'w'] {
        for one in One::all() {
            let mut one = one.unknown();
            let counter = if from == 'l' { REIGN } else { REIGN + 1 };
            one.hear_alive(from, counter);
            assert_eq!(one.phase(), "known");
            assert_eq!(one.election.reign(), Some(epoch(from, counter)));
            assert!(
                one.election.state().gone.is_empty(),
                "who failed may have returned"
            );
        }
    }
}

/// ELECT-17, ELECT-18.
#[test]
fn e10_an_uncontested_vote_makes_the_leader_who_speaks_at_once() {
    for one in One::all() {
        let mut one = one.voting();
        let vote = one.timing().vote(true);
        assert!(one.pass(vote - MS).heartbeats().is_empty());
        assert_eq!(one.phase(), "voting");
        let said = one.pass(MS);
        assert_eq!(one.phase(), "leading");
        assert_eq!(said.heartbeats()[0].epoch, epoch('m', REIGN + 1));
    }
}

#[test]
fn e11_a_weaker_claim_during_the_vote_is_answered_and_the_vote_begins_anew() {
    for one in One::all() {
        let mut one = one.voting();
        let said = one.hear_claim('w', REIGN + 1);
        assert_eq!(one.phase(), "unknown");
        assert_eq!(said.claims(), [REIGN + 2]);
        // A claim that its sender withdraws is none.
        let mut withdrawn = one.claim('a', REIGN + 2);
        withdrawn.office_ms = None;
        one.hear('a', ElectionMessage::Claim(withdrawn.clone()));
        assert_eq!(one.phase(), "unknown");
        one.pass_until(10_000 * MS, "voting");
        one.hear('a', ElectionMessage::Claim(withdrawn));
        assert_eq!(one.phase(), "voting");
        one.pass_until(15_000 * MS, "leading");
    }
}

/// Abstract of seed 004: whoever is weaker leaves the vote without a claim in the profile `quiet`.
#[test]
fn e11_a_better_claim_during_the_vote_is_conceded_to() {
    for one in One::all() {
        let mut one = one.voting();
        let said = one.hear_claim('a', REIGN + 1);
        assert_eq!(one.phase(), "concession");
        assert_eq!(said.claims().len(), if one.is_quiet() { 0 } else { 1 });
    }
}

#[test]
fn e12_a_heartbeat_ends_the_vote() {
    for from in ['l', 'w'] {
        for one in One::all() {
            let mut one = one.voting();
            let counter = if from == 'l' { REIGN } else { REIGN + 1 };
            one.hear_alive(from, counter);
            assert_eq!(one.election.reign(), Some(epoch(from, counter)));
            assert!(one.pass(one.timing().vote(true)).heartbeats().is_empty());
        }
    }
}

/// ELECT-07, ELECT-33.
#[test]
fn e13_the_leader_speaks_every_heartbeat_and_carries_what_it_was_given() {
    for one in One::all() {
        let mut one = one.leading();
        one.give(Input::Carry(vec![1, 2, 3]));
        let period = one.timing().heartbeat();
        for _ in 0..4 {
            one.give(Input::Heard);
            assert!(one.pass(period - MS).heartbeats().is_empty());
            let said = one.pass(MS);
            assert_eq!(said.heartbeats().len(), 1);
            assert_eq!(said.heartbeats()[0].carried, [1, 2, 3]);
        }
    }
}

/// ELECT-19.
#[test]
fn e14_a_claim_makes_the_leader_fall_silent_and_vote() {
    for from in ['a', 'w'] {
        for one in One::all() {
            let mut one = one.leading();
            let said = one.hear_claim(from, REIGN + 2);
            assert_eq!(one.phase(), "voting");
            assert_eq!(said.claims(), [REIGN + 3]);
            assert!(
                one.pass(one.timing().vote(true) - MS)
                    .heartbeats()
                    .is_empty()
            );
        }
    }
}

/// ELECT-19.
#[test]
fn e15_another_leader_makes_this_one_fall_silent_and_vote() {
    for one in One::all() {
        let mut one = one.leading();
        let said = one.hear_alive('w', REIGN + 2);
        assert_eq!(one.phase(), "voting");
        assert_eq!(said.claims(), [REIGN + 3], "above both reigns");
        assert!(said.heartbeats().is_empty());
    }
}

#[test]
fn e16_a_heartbeat_ends_the_concession() {
    for from in ['l', 'a', 'w'] {
        for one in One::all() {
            let mut one = one.conceding();
            let counter = if from == 'l' { REIGN } else { REIGN + 1 };
            one.hear_alive(from, counter);
            assert_eq!(one.election.reign(), Some(epoch(from, counter)));
        }
    }
}

#[test]
fn e17_a_still_better_claim_restarts_the_concession_and_a_lesser_one_does_not() {
    for one in One::all() {
        let mut one = one.known();
        one.hear_claim('b', REIGN + 1);
        let limit = one.timing().vote(true) + one.timing().silence();
        one.pass(limit - MS);
        one.hear_claim('c', REIGN + 1);
        assert_eq!(one.phase(), "concession");
        one.hear_claim('a', REIGN + 1);
        one.pass(limit - MS);
        assert_eq!(one.phase(), "concession");
        one.hear_claim('b', REIGN + 1);
        one.pass(MS);
        assert_eq!(one.phase(), "unknown");
    }
    // The favourite that claims again is alive.
    for one in One::all() {
        let mut one = one.known();
        one.hear_claim('a', REIGN + 1);
        let limit = one.timing().vote(true) + one.timing().silence();
        one.pass(limit - MS);
        one.hear_claim('a', REIGN + 2);
        one.pass(limit - MS);
        assert_eq!(one.phase(), "concession");
    }
}

/// ELECT-26, hole a10: the favourite dies after its claim.
#[test]
fn e18_a_favourite_that_does_not_come_is_no_longer_waited_for() {
    for one in One::all() {
        let mut one = one.conceding();
        let limit = one.timing().vote(true) + one.timing().silence();
        one.pass(limit - MS);
        assert_eq!(one.phase(), "concession");
        one.pass_until(MS, "unknown");
        // Of the two stronger ones one is left, neither the old leader nor the favourite counts.
        let wait = one.timing().claim_wait(Some(1), OWN);
        one.pass(wait - MS);
        assert_eq!(one.phase(), "unknown");
        one.pass_until(2 * MS, "voting");
        one.pass_until(20_000 * MS, "leading");
    }
}

/// ELECT-30, ELECT-34; other segments and keys are the business of the layer below.
#[test]
fn e19_echoes_and_old_reigns_change_nothing() {
    type State = fn(One) -> One;
    let states: [State; 5] = [
        One::known,
        One::unknown,
        One::voting,
        One::leading,
        One::conceding,
    ];
    for state in states {
        for one in One::all() {
            let mut one = state(one);
            let before = one.election.state().clone();
            let obeyed = before.obeyed.unwrap().counter;
            one.hear_alive('m', obeyed + 9);
            one.hear_claim('m', obeyed + 9);
            one.hear_alive('a', obeyed - 1);
            one.hear_claim('a', obeyed);
            let after = one.election.state();
            assert_eq!(after.phase, before.phase);
            assert_eq!(after.obeyed, before.obeyed);
        }
    }
}

/// ELECT-27.
#[test]
fn e20_a_starter_listens_before_it_claims() {
    for mut one in One::all() {
        assert_eq!(one.phase(), "unknown");
        let timing = one.timing();
        let listens = timing.listening() + timing.claim_wait(None, 1_000_000);
        assert!(one.pass(listens - MS).claims().is_empty());
        one.hear_alive('w', 3);
        assert_eq!(one.election.reign(), Some(epoch('w', 3)));
    }
    for mut one in One::all() {
        let said = one.pass_until(30_000 * MS, "leading");
        assert!(!said.claims().is_empty());
    }
}

/// ELECT-22: rows E1, E2 without a claim, E3 and E9.
#[test]
fn those_who_are_no_candidates_follow_and_never_claim() {
    for timing in [fast(), classic()] {
        let never = |settings: &mut Settings| settings.candidacy = Candidacy::Never;
        let mut one = One::with(never, timing, Memory::default());
        one.give(Input::Start);
        assert!(one.pass(60_000 * MS).is_silent());
        let mut one = one.known();
        one.hear_claim('a', REIGN + 1);
        assert_eq!(one.phase(), "known");
        one.pass(timing.silence() - MS);
        assert_eq!(one.phase(), "known");
        let said = one.pass(60_000 * MS);
        assert_eq!(one.phase(), "unknown");
        assert!(said.is_silent());
        one.hear_claim('w', REIGN + 1);
        assert_eq!(one.phase(), "unknown");
        one.hear_alive('w', REIGN + 1);
        one.hear_alive('b', REIGN + 2);
        assert_eq!(one.election.reign(), Some(epoch('b', REIGN + 2)));
    }
}
