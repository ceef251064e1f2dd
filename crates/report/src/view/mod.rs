//! What the page shows, as finished texts: every number here has its unit, its n and its interval in words already. The
//! templates only place them.

mod checkpoints;
mod described;
mod engine;
mod gpu;
mod groups;
mod instrument;
mod methods;
mod quality;
mod served;
mod sessions;
mod setup;
mod timeline;
mod treatments;
mod trials;
mod values;
mod verdicts;

use crate::{
    ReportError,
    headline::{HeadlineText, headlines},
    label,
    plot::{ArmStyle, PlotError},
    summary::RunDoc,
    table::{Cell, Table},
};
use serde::Serialize;
use servelab_schema::{
    LoadId, MetricName, NamedLoad, PlannedVariant, Treatment, VariantId, VariantRole,
    findings::{CellFindings, OverBlocks},
};
use servelab_store::RunData;

/// A term and what it means.
#[derive(Debug, Serialize)]
pub(crate) struct Term {
    word: &'static str,
    meaning: &'static str,
}

/// The banner of one kind of numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Kind {
    word: &'static str,
    class: &'static str,
    sentence: &'static str,
}

/// A link of the navigation.
#[derive(Debug, Serialize)]
pub(crate) struct Link {
    anchor: String,
    text: String,
}

/// The whole page.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    title: String,
    kinds: Vec<Kind>,
    nav: Vec<Link>,
    index: Option<Table>,
    runs: Vec<RunView>,
    method_notes: Vec<String>,
    metrics: Table,
    terms: Vec<Term>,
    footer: String,
}

/// A plot and what it shows.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// File name without `.svg`, unique in the report.
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) svg: String,
    pub(crate) caption: String,
}

/// A label and its value.
#[derive(Debug, Serialize)]
pub(crate) struct Fact {
    label: &'static str,
    value: String,
    code: bool,
}

/// Something to know before reading on.
#[derive(Debug, Serialize)]
pub(crate) struct Notice {
    title: String,
    text: String,
}

/// One run's section.
#[derive(Debug, Serialize)]
pub(crate) struct RunView {
    anchor: String,
    name: String,
    subtitle: String,
    kind: Kind,
    fingerprint: String,
    notices: Vec<Notice>,
    headlines: Vec<HeadlineText>,
    pub(crate) loads: Vec<LoadView>,
    failures: Table,
    failure_details: Table,
    failure_total: String,
    servers: Option<Table>,
    treatments: Table,
    /// None where no engine showed its metrics.
    engine_counts: Option<Table>,
    /// None where nothing was drafted.
    speculation: Option<Table>,
    /// None where no engine showed its metrics.
    outside: Option<Table>,
    validity_summary: String,
    invalid: Table,
    /// None where the run went through in one piece.
    sessions: Option<Table>,
    trials: Table,
    timeline_note: String,
    timelines: Vec<timeline::Group>,
    facts: Vec<Fact>,
    instrument: Option<Table>,
    /// None where no GPU was read.
    gpu: Option<Table>,
    variants: Table,
}

/// What one load showed.
#[derive(Debug, Serialize)]
pub(crate) struct LoadView {
    anchor: String,
    title: String,
    what: String,
    rule: String,
    primary: Table,
    /// None where nothing is compared.
    pub(crate) effects: Option<Figure>,
    matrix: Table,
    comparisons: Table,
    values: Table,
    values_note: String,
    slo: Option<Table>,
    described: Table,
    pub(crate) ecdfs: Vec<Figure>,
    pub(crate) group_figures: Vec<Figure>,
    groups: Table,
    quality_note: String,
    quality: Table,
}

/// A run and the numbers it is shown with.
pub(crate) struct Context<'a> {
    pub(crate) run: &'a RunData,
    pub(crate) doc: &'a RunDoc,
    /// Begins every id of the run on the page.
    pub(crate) anchor: String,
}

impl Context<'_> {
    pub(crate) fn kind_word(&self) -> &'static str {
        label::kind(self.run.plan.engine_kind).0
    }

    /// How an arm is drawn, the same in every plot.
    pub(crate) fn style(&self, variant: &PlannedVariant) -> ArmStyle {
        let treatments = self
            .run
            .plan
            .variants
            .iter()
            .filter(|v| v.role == VariantRole::Treatment);
        let position = treatments.take_while(|v| v.id != variant.id).count();
        ArmStyle::of(
            variant.role == VariantRole::Baseline,
            variant.role == VariantRole::Aa,
            position,
        )
    }

    pub(crate) fn plot_error(&self, plot: &'static str) -> impl FnOnce(PlotError) -> ReportError {
        let run = self.run.manifest.run_id.to_string();
        move |why| ReportError::Plot { plot, run, why }
    }

    /// One variant under one load; none where it has no trial.
    pub(crate) fn cell(&self, load: &LoadId, variant: &VariantId) -> Option<&CellFindings> {
        self.run.findings.cell(load, variant)
    }

    /// One metric of one cell over its blocks.
    pub(crate) fn over_blocks(&self, load: &LoadId, variant: &VariantId, metric: MetricName) -> Option<OverBlocks> {
        self.cell(load, variant)?.over_blocks.get(&metric).copied()
    }

    /// The treatment that makes every trial of a variant void.
    pub(crate) fn void(&self, variant: &VariantId) -> Option<Treatment> {
        self.run.findings.variant(variant)?.void
    }

    /// True where some trial of a variant is compared although nothing shows that its setting took effect.
    pub(crate) fn unobserved(&self, variant: &VariantId) -> bool {
        self.run.findings.variant(variant).is_some_and(|v| v.unobserved)
    }

    /// An id on the page that no other run or load has.
    pub(crate) fn id(&self, load: &NamedLoad, what: &str) -> String {
        format!("{}-{}-{what}", self.anchor, load.id)
    }
}

fn kind_view(run: &RunData) -> Kind {
    let (word, class, sentence) = label::kind(run.plan.engine_kind);
    Kind { word, class, sentence }
}

/// One run's section.
pub(crate) fn run(run: &RunData, doc: &RunDoc) -> Result<RunView, ReportError> {
    let anchor = format!("run-{}", run.manifest.run_id);
    let cx = Context { run, doc, anchor };
    let loads = run.plan.loads.iter().map(|l| load(&cx, l)).collect::<Result<_, _>>()?;
    let (failure_details, failure_total) = trials::failure_details(&cx);
    Ok(RunView {
        name: run.manifest.name.clone(),
        subtitle: setup::subtitle(&cx),
        kind: kind_view(run),
        fingerprint: run.fingerprint.to_string(),
        notices: setup::notices(&cx),
        headlines: headlines(&run.plan, &run.findings),
        loads,
        failures: trials::failures(&cx),
        failure_details,
        failure_total,
        servers: treatments::servers(&cx),
        treatments: treatments::table(&cx),
        engine_counts: engine::counts(&cx),
        speculation: engine::speculation(&cx),
        outside: engine::outside(&cx),
        validity_summary: trials::validity_summary(&cx),
        invalid: trials::invalid(&cx),
        sessions: sessions::sessions(&cx),
        trials: trials::trials(&cx),
        timeline_note: timeline::NOTE.to_owned(),
        timelines: timeline::groups(&cx),
        facts: setup::facts(&cx),
        instrument: instrument::certificate(&cx),
        gpu: gpu::table(&cx),
        variants: setup::variants(&cx),
        anchor: cx.anchor,
    })
}

fn load(cx: &Context<'_>, load: &NamedLoad) -> Result<LoadView, ReportError> {
    let several = cx.run.plan.loads.len() > 1;
    let title = if several {
        format!("Which variant is better under {}?", load.id)
    } else {
        "Which variant is better?".into()
    };
    Ok(LoadView {
        anchor: format!("{}-{}", cx.anchor, load.id),
        title,
        what: label::load(&load.load),
        rule: verdicts::rule(cx),
        primary: verdicts::primary(cx, load),
        effects: verdicts::effects(cx, load)?,
        matrix: verdicts::matrix(cx, load),
        comparisons: verdicts::comparisons(cx, load),
        values: values::values(cx, load),
        values_note: values::NOTE.to_owned(),
        slo: values::slo(cx, load),
        described: described::table(cx, load),
        ecdfs: values::ecdfs(cx, load)?,
        group_figures: groups::figures(cx, load)?,
        groups: groups::table(cx, load),
        quality_note: quality::note(cx),
        quality: quality::table(cx, load),
    })
}

/// The page of all runs; their sections are given.
pub(crate) fn page(all: &[RunData], docs: &[RunDoc], runs: Vec<RunView>) -> Page {
    let mut kinds: Vec<Kind> = Vec::new();
    for run in all {
        let kind = kind_view(run);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let several = runs.len() > 1;
    let title = match runs.first() {
        Some(run) if !several => format!("servelab · {} · {}", run.name, run.kind.word),
        _ => format!("servelab · {} runs", runs.len()),
    };
    Page {
        title,
        kinds,
        nav: nav(&runs),
        index: several.then(|| setup::index(all, docs)),
        runs,
        method_notes: methods::notes(),
        metrics: methods::metrics(),
        terms: methods::terms(),
        footer: format!(
            "Made by servelab {}. One file, no network: everything it shows is in it.",
            env!("CARGO_PKG_VERSION")
        ),
    }
}

fn nav(runs: &[RunView]) -> Vec<Link> {
    let link = |anchor: String, text: &str| Link {
        anchor,
        text: text.to_owned(),
    };
    let mut links = Vec::new();
    if let [run] = runs {
        if let Some(load) = run.loads.first() {
            links.push(link(format!("{}-verdicts", load.anchor), "Verdicts"));
            links.push(link(format!("{}-values", load.anchor), "Values"));
            links.push(link(format!("{}-groups", load.anchor), "Task and length"));
            links.push(link(format!("{}-quality", load.anchor), "Answers"));
        }
        for (part, text) in [
            ("failures", "Failures"),
            ("treatment", "Treatment"),
            ("validity", "Validity"),
            ("engine", "Engine"),
            ("timelines", "Timelines"),
            ("setup", "Setup"),
        ] {
            if part != "engine" || run.engine_counts.is_some() {
                links.push(link(format!("{}-{part}", run.anchor), text));
            }
        }
    } else {
        links.extend(runs.iter().map(|run| link(run.anchor.clone(), &run.name)));
    }
    links.push(link("methods".to_owned(), "Methods"));
    links
}

impl RunView {
    /// Every plot of the run, for the files beside the page.
    pub(crate) fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.loads
            .iter()
            .flat_map(|l| l.effects.iter().chain(&l.ecdfs).chain(&l.group_figures))
    }
}

/// The verdict table as plain texts, for the terminal: heads and rows of all loads.
pub(crate) fn verdict_texts(run: &RunData, doc: &RunDoc) -> (Vec<String>, Vec<Vec<String>>) {
    let cx = Context {
        run,
        doc,
        anchor: String::new(),
    };
    let mut columns = Vec::new();
    let mut rows = Vec::new();
    for load in &run.plan.loads {
        let table = verdicts::primary(&cx, load);
        columns = std::iter::once("Load".to_owned())
            .chain(table.columns.into_iter().map(|c| c.label))
            .collect();
        rows.extend(table.rows.into_iter().map(|row| {
            std::iter::once(load.id.to_string())
                .chain(row.cells.into_iter().map(plain))
                .collect()
        }));
    }
    (columns, rows)
}

fn plain(cell: Cell) -> String {
    if cell.below.is_empty() {
        cell.text
    } else {
        format!("{} {}", cell.text, cell.below)
    }
}
