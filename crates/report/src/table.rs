//! Tables as finished texts. One macro of the template prints them all.

use serde::Serialize;

/// A table ready to be printed.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Table {
    /// Id, unique on the page.
    pub(crate) id: String,
    /// What it shows.
    pub(crate) title: String,
    /// What must be known to read it.
    pub(crate) note: String,
    /// Its columns.
    pub(crate) columns: Vec<Column>,
    /// Its rows; each has a cell for each column.
    pub(crate) rows: Vec<Row>,
}

/// A column's head.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) label: String,
    /// Unit of its values; empty where they have none.
    pub(crate) unit: String,
    /// Formula or explanation.
    pub(crate) hint: String,
    /// True for numbers.
    pub(crate) numeric: bool,
}

impl Column {
    pub(crate) fn text(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            unit: String::new(),
            hint: String::new(),
            numeric: false,
        }
    }

    pub(crate) fn number(label: &str, unit: &str) -> Self {
        Self {
            numeric: true,
            unit: unit.to_owned(),
            ..Self::text(label)
        }
    }

    pub(crate) fn hint(mut self, hint: &str) -> Self {
        hint.clone_into(&mut self.hint);
        self
    }
}

/// A row.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Row {
    /// Finds the row's numbers in `summary.json`; empty where there are none.
    pub(crate) key: String,
    /// True for what is shown but not ranked.
    pub(crate) dim: bool,
    /// Its cells.
    pub(crate) cells: Vec<Cell>,
}

/// What a cell says at a glance; always beside the words that say it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) enum Tone {
    /// Nothing in particular.
    #[default]
    #[serde(rename = "")]
    Plain,
    /// Better.
    #[serde(rename = "tone-better")]
    Better,
    /// Worse.
    #[serde(rename = "tone-worse")]
    Worse,
    /// Equivalent.
    #[serde(rename = "tone-equal")]
    Equal,
    /// No evidence.
    #[serde(rename = "tone-none")]
    None,
    /// Not compared.
    #[serde(rename = "tone-void")]
    Void,
    /// Look here.
    #[serde(rename = "tone-warn")]
    Warn,
}

/// A cell.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Cell {
    /// Its text.
    pub(crate) text: String,
    /// A second, smaller line.
    pub(crate) below: String,
    /// Explanation on hovering.
    pub(crate) title: String,
    /// What it is sorted by; none leaves it last.
    pub(crate) sort: Option<String>,
    /// A sign before the text; the text says the same in words.
    pub(crate) icon: String,
    /// Where it leads to.
    pub(crate) anchor: String,
    /// Colour.
    pub(crate) tone: Tone,
    /// True for the row's name.
    pub(crate) header: bool,
    /// True for numbers.
    pub(crate) numeric: bool,
    /// True for long texts.
    pub(crate) wrap: bool,
}

impl Cell {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            sort: Some(text.clone()),
            text,
            ..Self::default()
        }
    }

    pub(crate) fn name(text: impl Into<String>) -> Self {
        Self {
            header: true,
            ..Self::text(text)
        }
    }

    pub(crate) fn long(text: impl Into<String>) -> Self {
        Self {
            wrap: true,
            ..Self::text(text)
        }
    }

    /// A number as people read it, sorted by its full value.
    pub(crate) fn number(text: impl Into<String>, value: f64) -> Self {
        Self {
            text: text.into(),
            sort: Some(crate::number::bare(value)),
            numeric: true,
            ..Self::default()
        }
    }

    pub(crate) fn count(n: u32) -> Self {
        Self::number(crate::number::grouped(u64::from(n)), f64::from(n))
    }

    /// There is no number, and why.
    pub(crate) fn absent(why: &str) -> Self {
        Self {
            text: "–".to_owned(),
            title: why.to_owned(),
            numeric: true,
            ..Self::default()
        }
    }

    pub(crate) fn below(mut self, text: impl Into<String>) -> Self {
        self.below = text.into();
        self
    }

    pub(crate) fn title(mut self, text: impl Into<String>) -> Self {
        self.title = text.into();
        self
    }

    pub(crate) fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }

    pub(crate) fn icon(mut self, icon: &str) -> Self {
        icon.clone_into(&mut self.icon);
        self
    }

    pub(crate) fn anchor(mut self, anchor: impl Into<String>) -> Self {
        self.anchor = anchor.into();
        self
    }
}
