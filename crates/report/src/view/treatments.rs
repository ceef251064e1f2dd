//! Variant by variant: what was set, what proves that it took effect, what changed along.

use super::{Context, values::range_cell};
use crate::{
    number,
    table::{Cell, Column, Row, Table, Tone},
};
use servelab_schema::{
    CheckResult, FieldKind, Treatment, VariantRole,
    findings::{ChangedField, CheckCount, Confounded, OverBlocks, WhichServer},
};
use std::collections::BTreeMap;

fn treatment_cell(treatment: Treatment, is_tested: bool) -> Cell {
    if !is_tested {
        return Cell::text("–").title(format!("{treatment}: the baseline has no setting under test"));
    }
    let (icon, tone) = match treatment {
        Treatment::Confirmed => ("✓", Tone::Plain),
        Treatment::Unobservable => ("○", Tone::Warn),
        Treatment::NoOp | Treatment::Substituted | Treatment::Rejected => ("⊘", Tone::Void),
    };
    Cell::text(treatment.to_string()).icon(icon).tone(tone)
}

/// Variant by variant: what was set, what proves that it took effect, what the engine said.
pub(crate) fn table(cx: &Context<'_>) -> Table {
    let mut rows = Vec::new();
    for v in &cx.run.plan.variants {
        let Some(found) = cx.run.findings.variant(&v.id) else {
            continue;
        };
        for observed in &found.observed {
            let treatment = observed.treatment;
            let evidence = evidence(&observed.checks);
            let settings: Vec<String> = v
                .differs_in
                .iter()
                .map(|name| {
                    // Of a variant that is a server of its own there is no flag.
                    if let Some(server) = found.server.as_ref().filter(|_| name == "url") {
                        return format!("url = {}", server.url);
                    }
                    v.flags
                        .get(name)
                        .map_or_else(|| format!("{name} absent"), |f| format!("{name} = {}", f.value))
                })
                .collect();
            rows.push(Row {
                dim: false,
                cells: vec![
                    Cell::name(v.id.to_string()).below(v.factor.clone().unwrap_or_default()),
                    treatment_cell(treatment, v.role == VariantRole::Treatment),
                    Cell::count(observed.trials),
                    Cell::long(settings.join("; ")),
                    Cell::long(evidence),
                    Cell::long(observed.engine_words.join(" · ")),
                    changed_along(found.changed_along.as_ref()),
                    startup(found.startup_s),
                    Cell::text(observed.engine_versions.join(", ")),
                ],
                ..Row::default()
            });
        }
    }
    Table {
        id: format!("{}-treatments", cx.anchor),
        title: "Planned settings and what the engine showed of them".to_owned(),
        note: "only CONFIRMED and, marked, UNOBSERVABLE trials are compared; the rest are void, never “no difference”"
            .to_owned(),
        columns: vec![
            Column::text("Variant"),
            Column::text("Treatment"),
            Column::number("Trials", ""),
            Column::text("Differs from its control in"),
            Column::text("Evidence"),
            Column::text("The engine's own words"),
            Column::text("Changed along").hint(
                "fields of the engine's effective configuration that no flag of the variant names, that are the same in every \
                 start of an arm, and that differ from the control's: the effect may be theirs",
            ),
            Column::number("Start-up", "s").hint("from launch to the first good answer; mean over starts, shortest to longest"),
            Column::text("Version"),
        ],
        rows,
    }
}

/// The servers side by side; none where servelab started the engines.
pub(crate) fn servers(cx: &Context<'_>) -> Option<Table> {
    let of = |v: &servelab_schema::PlannedVariant| {
        let server = cx.run.findings.variant(&v.id)?.server.as_ref()?;
        let or_none = |texts: Vec<String>| {
            if texts.is_empty() {
                Cell::absent("it does not say")
            } else {
                Cell::text(texts.join(", "))
            }
        };
        let beside = server.beside_control.map(|which| match which {
            WhichServer::Another => "another server",
            WhichServer::Same => "the same server under another address",
            WhichServer::OneProcess => "one process serves both addresses: one server, or a proxy before two",
            WhichServer::Unknown => "not to be seen from here",
        });
        Some(Row {
            cells: vec![
                Cell::name(v.id.to_string()),
                Cell::text(server.url.clone()),
                or_none(server.versions.clone()),
                or_none(server.models.clone()),
                or_none(server.context_tokens.iter().map(u32::to_string).collect()),
                beside.map_or_else(|| Cell::text("–"), |words| Cell::long(words.to_owned())),
            ],
            ..Row::default()
        })
    };
    let rows: Vec<Row> = cx.run.plan.variants.iter().filter_map(of).collect();
    (!rows.is_empty()).then(|| Table {
        id: format!("{}-servers", cx.anchor),
        title: "The servers by their own account".to_owned(),
        note: "servelab started none of them: weights, flags and machine are known as far as they show them".to_owned(),
        columns: vec![
            Column::text("Variant"),
            Column::text("Address"),
            Column::text("Version"),
            Column::text("Model"),
            Column::text("Context"),
            Column::text("Beside its control"),
        ],
        rows,
    })
}

/// What was looked for and found: each kind of finding once, with the first words found and how often.
fn evidence(checks: &[CheckCount]) -> String {
    let mut found: BTreeMap<(&str, &str), (Option<&str>, u32)> = BTreeMap::new();
    for CheckCount { check, trials } in checks {
        let result = match check.result {
            CheckResult::Found => "found",
            CheckResult::Differs => "differs",
            CheckResult::Absent => "absent",
            CheckResult::Unknown => "not to be seen",
        };
        let entry = found
            .entry((&check.expected, result))
            .or_insert((check.found.as_deref(), 0));
        entry.1 += trials;
    }
    let said = found.into_iter().map(|((expected, result), (words, n))| {
        let times = if n > 1 {
            format!(" in {n} trials")
        } else {
            String::new()
        };
        words.map_or_else(
            || format!("{expected}: {result}{times}"),
            |words| format!("{expected}: {result}{times} (“{words}”)"),
        )
    });
    said.collect::<Vec<_>>().join("; ")
}

/// Changed fields that a cell names; the rest are counted, and all are in its explanation.
const MOST_FIELDS: usize = 4;

/// Longest value that a cell shows, in characters.
const MOST_OF_A_VALUE: usize = 40;

fn changed_along(found: Option<&Confounded>) -> Cell {
    let Some(found) = found else {
        return Cell::text("–").title("the baseline has no control");
    };
    if !found.is_known() {
        return Cell::text("not known").title("the engine, or the control's, shows no configuration");
    }
    let settings: Vec<&ChangedField> = found.settings().collect();
    // Blocks, bytes and tokens say the same: the tokens do where they are there.
    let of_kind = |kind: FieldKind| {
        found
            .fields
            .iter()
            .filter(move |f| f.kind == kind)
            .map(change)
            .collect::<Vec<_>>()
    };
    let follows = Some(of_kind(FieldKind::Room)).filter(|room| !room.is_empty());
    let follows = follows.unwrap_or_else(|| of_kind(FieldKind::RoomDetail));
    let all: Vec<String> = found.fields.iter().map(change).collect();
    let starts = format!(
        "{} of the variant, {} of the control",
        number::count(found.variant_starts, "start"),
        number::count(found.control_starts, "start")
    );
    let mut text: Vec<String> = settings.iter().take(MOST_FIELDS).map(|f| change(f)).collect();
    let more = settings.len().saturating_sub(MOST_FIELDS);
    if more > 0 {
        text.push(format!("and {more} more"));
    }
    let below = if follows.is_empty() {
        String::new()
    } else {
        format!("and so: {}", follows.join("; "))
    };
    let cell = if text.is_empty() {
        Cell::long("nothing")
    } else {
        Cell::long(text.join("; ")).tone(Tone::Warn)
    };
    let title = if all.is_empty() {
        starts
    } else {
        format!("{}. {starts}", all.join("; "))
    };
    cell.below(below).title(title)
}

fn change(f: &ChangedField) -> String {
    let value = |v: &Option<String>| v.as_deref().map_or_else(|| "absent".to_owned(), cut);
    format!("{} {} → {}", f.field, value(&f.control), value(&f.variant))
}

fn cut(value: &str) -> String {
    if value.chars().count() <= MOST_OF_A_VALUE {
        return value.to_owned();
    }
    let start: String = value.chars().take(MOST_OF_A_VALUE).collect();
    format!("{start}…")
}

fn startup(startup: Option<OverBlocks>) -> Cell {
    startup.map_or_else(
        || Cell::absent("no start was timed"),
        |s| range_cell(Some(s)).title(format!("mean of {}", number::count(s.n, "start"))),
    )
}
