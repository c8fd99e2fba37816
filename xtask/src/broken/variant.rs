/// A rule left out.
pub(super) struct Variant {
    pub(super) name: &'static str,
    /// File, text, and what stands in its place.
    pub(super) edits: &'static [(&'static str, &'static str, &'static str)],
}

pub(super) const VARIANTS: &[Variant] = &[
    Variant {
        name: "epoch-check-removed",
        edits: &[(
            "core/election/src/election/mod.rs",
            "if Some(epoch) < self.state.obeyed {",
            "if false {",
        )],
    },
    Variant {
        name: "tie-break-removed",
        edits: &[(
            "core/election/src/election/contest.rs",
            "_ => favourite.claim > Some(self.candidate()),",
            "_ => favourite.claim.as_ref().is_some_and(|claim| claim.priority > self.candidate().priority),",
        )],
    },
    Variant {
        name: "inverse-proportional-delay",
        edits: &[(
            "core/election/src/election/monitor.rs",
            "Some(rank) => timing.rank_wait(rank),",
            "Some(_) => timing.heartbeat() * 10_000 / (10_000 + self.priority()),",
        )],
    },
    Variant {
        name: "indicator-not-cleared",
        edits: &[
            (
                "core/membership/src/participant.rs",
                "self.state.exchange = Some(Exchange::new(merge));",
                "let old = self.state.former.take().unwrap_or_default();\n                \
                 self.state.exchange = Some(Exchange { data: old, ..Exchange::new(merge) });",
            ),
            (
                "core/membership/src/participant.rs",
                "        exchange.sort_out();\n",
                "",
            ),
            (
                "core/membership/src/participant.rs",
                "        self.state.exchange = None;\n",
                "        self.state.former = self.state.exchange.take().map(|exchange| exchange.data);\n",
            ),
            (
                "core/membership/src/participant.rs",
                "        self.state.segment = merge(&sides, &participants, &round.failed, version);\n",
                "        self.state.segment = merge(&sides, &participants, &round.failed, version);\n        \
                 self.state.former = Some(exchange.data);\n",
            ),
            (
                "core/membership/src/participant.rs",
                "        self.end_exchange();\n        self.state.merged = Some(exchange.merge);\n",
                "        self.deadlines.cancel(Timer::Ack);\n        self.deadlines.cancel(Timer::Nack);\n        \
                 self.state.merged = Some(exchange.merge);\n",
            ),
            (
                "core/membership/src/membership.rs",
                "    pub(crate) exchange: Option<Exchange>,\n",
                "    pub(crate) exchange: Option<Exchange>,\n    \
                 pub(crate) former: Option<BTreeMap<u8, crate::exchange::Collected>>,\n",
            ),
            (
                "core/membership/src/membership.rs",
                "            exchange: None,\n",
                "            exchange: None,\n            former: None,\n",
            ),
        ],
    },
    Variant {
        name: "merge-id-missing",
        edits: &[
            (
                "core/membership/src/participant.rs",
                "Some(exchange) if exchange.merge > merge => return false,",
                "Some(exchange) if exchange.merge.epoch == merge.epoch => exchange.silence = 0,",
            ),
            (
                "core/membership/src/participant.rs",
                "self.state.merged.is_some_and(|done| done >= merge)",
                "false",
            ),
            (
                "core/membership/src/orderer.rs",
                "if (ack.merge, ack.round) != (coordinator.merge, coordinator.round) {",
                "if ack.round != coordinator.round {",
            ),
        ],
    },
    Variant {
        name: "amnesia-after-restart",
        edits: &[(
            "core/election/src/election/mod.rs",
            "state: State::new(memory),",
            "state: State::new(Memory { obeyed: None, counter: memory.counter * 0 }),",
        )],
    },
    Variant {
        name: "start-not-counted",
        edits: &[(
            "service/sim/src/member.rs",
            "disk.starts += 1;",
            "disk.starts = 1;",
        )],
    },
    Variant {
        name: "deposed-leaders-report",
        edits: &[(
            "core/membership/src/member.rs",
            "if from != member.epoch.leader || page.to.epoch != member.epoch {",
            "if from != page.to.epoch.leader {",
        )],
    },
    Variant {
        name: "report-without-sequence",
        edits: &[(
            "core/membership/src/leader.rs",
            "sequence: from.map_or(0, |from| from.sequence) + 1,",
            "sequence: from.map_or(1, |from| from.sequence),",
        )],
    },
    Variant {
        name: "earlier-start-merged",
        edits: &[(
            "core/membership/src/merge.rs",
            "Some(Some(participant)) => record.incarnation < participant.incarnation,",
            "Some(Some(_)) => false,",
        )],
    },
    Variant {
        name: "forged-answered",
        edits: &[(
            "core/segment/src/segment.rs",
            "Err(reason) => return out.push(Output::Told(Event::Rejected { source, reason })),",
            "Err(_) => return self.send(None, &ControlMessage::Introduction(Introduction::Hello), [source], out),",
        )],
    },
    Variant {
        name: "dead-kept",
        edits: &[(
            "core/membership/src/liveness.rs",
            "if *inquiries >= INQUIRIES {",
            "if *inquiries == u8::MAX {",
        )],
    },
    Variant {
        name: "control-server-not-told",
        edits: &[(
            "core/membership/src/leader.rs",
            "self.tell_control_server(Some(changes), out);",
            "",
        )],
    },
    Variant {
        name: "control-server-misnumbered",
        edits: &[(
            "core/membership/src/leader.rs",
            "leader.reports += 1;",
            "leader.reports += 2;",
        )],
    },
    Variant {
        name: "weakest-first",
        edits: &[(
            "core/election/src/ranking.rs",
            "stronger += u32::from(candidate > own && candidate.node != own.node);",
            "stronger += u32::from(candidate < own && candidate.node != own.node);",
        )],
    },
];
