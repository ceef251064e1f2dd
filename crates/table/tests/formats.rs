//! What goes in comes out of every format, read by somebody else's code.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{Field, RowAccessor},
};
use proptest::prelude::*;
use servelab_table::{Cell, Column, Columns, FileFormat, Kind, TableError, sink};
use std::{
    borrow::Cow,
    io::{self, Write},
};

fn columns() -> Columns {
    Columns::new(vec![
        Column::text("name"),
        Column::integer("ttft_ns").unit("ns"),
        Column::real("share"),
        Column::boolean("measured"),
        Column::new("gaps_ns", Kind::Integers).unit("ns"),
    ])
    .unwrap()
}

type Row = (Option<String>, Option<i64>, Option<f64>, Option<bool>, Option<Vec<i64>>);

fn cells(row: &Row) -> Vec<Cell<'_>> {
    vec![
        row.0.as_deref().into(),
        row.1.into(),
        row.2.into(),
        row.3.into(),
        row.4
            .as_deref()
            .map_or(Cell::Null, |all| Cell::Integers(Cow::Borrowed(all))),
    ]
}

fn written(format: FileFormat, rows: &[Row]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = sink(format, &columns(), &mut bytes).unwrap();
    for row in rows {
        out.row(&cells(row)).unwrap();
    }
    out.finish().unwrap();
    bytes
}

/// A row as JSON has it.
fn json(row: &Row) -> serde_json::Value {
    serde_json::json!({"name": row.0, "ttft_ns": row.1, "share": row.2, "measured": row.3, "gaps_ns": row.4})
}

fn integers(field: &Field) -> Option<Vec<i64>> {
    match field {
        Field::ListInternal(list) => Some(
            list.elements()
                .iter()
                .map(|e| match e {
                    Field::Long(n) => *n,
                    other => panic!("{other:?} in a list"),
                })
                .collect(),
        ),
        Field::Null => None,
        other => panic!("{other:?} is no list"),
    }
}

fn read_parquet(bytes: Vec<u8>) -> Vec<Row> {
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
    let rows = reader.get_row_iter(None).unwrap().map(Result::unwrap);
    rows.map(|row| {
        let fields: Vec<&Field> = row.get_column_iter().map(|(_, field)| field).collect();
        (
            row.get_string(0).ok().cloned(),
            row.get_long(1).ok(),
            row.get_double(2).ok(),
            row.get_bool(3).ok(),
            integers(fields[4]),
        )
    })
    .collect()
}

fn any_row() -> impl Strategy<Value = Row> {
    let finite = any::<f64>().prop_filter("JSON has no word for it", |x| x.is_finite());
    (
        proptest::option::of("\\PC{0,12}|[=+@\"\n,-]{0,6}"),
        any::<Option<i64>>(),
        proptest::option::of(finite),
        any::<Option<bool>>(),
        proptest::option::of(proptest::collection::vec(any::<i64>(), 0..5)),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_come_back_from_every_format(rows in proptest::collection::vec(any_row(), 0..30)) {
        prop_assert_eq!(&read_parquet(written(FileFormat::Parquet, &rows)), &rows);
        let expected: Vec<serde_json::Value> = rows.iter().map(json).collect();
        let array: Vec<serde_json::Value> = serde_json::from_slice(&written(FileFormat::Json, &rows)).unwrap();
        prop_assert_eq!(&array, &expected);
        let lines = String::from_utf8(written(FileFormat::JsonLines, &rows)).unwrap();
        let lines: Vec<serde_json::Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        prop_assert_eq!(&lines, &expected);
        let text = written(FileFormat::Csv, &rows);
        let mut reader = csv::Reader::from_reader(text.as_slice());
        let found: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        prop_assert_eq!(found.len(), rows.len());
        for (record, row) in found.iter().zip(&rows) {
            let name = row.0.as_deref().unwrap_or_default();
            prop_assert_eq!(&record[0], &*servelab_schema::foreign::cell(name));
            prop_assert_eq!(record[1].parse().ok(), row.1);
            prop_assert_eq!(record[2].parse().ok(), row.2);
        }
    }
}

#[test]
fn groups_of_rows_are_bounded_and_units_are_in_the_file() {
    let text = "x".repeat(2_000);
    let rows: Vec<Row> = (0..20_000)
        .map(|n| (Some(format!("{n}{text}")), Some(n), None, None, None))
        .collect();
    let bytes = written(FileFormat::Parquet, &rows);
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
    let meta = reader.metadata();
    assert!(meta.num_row_groups() >= 2, "{} groups", meta.num_row_groups());
    assert_eq!(meta.file_metadata().num_rows(), 20_000);
    let units = meta.file_metadata().key_value_metadata().unwrap();
    let unit = |key: &str| units.iter().find(|kv| kv.key == key).and_then(|kv| kv.value.clone());
    assert_eq!(unit("unit.ttft_ns").as_deref(), Some("ns"));
    assert_eq!(unit("unit.name"), None);
}

#[test]
fn no_rows_are_a_file_too() {
    assert_eq!(written(FileFormat::Json, &[]), b"[]\n");
    assert_eq!(written(FileFormat::JsonLines, &[]), b"");
    assert_eq!(written(FileFormat::Csv, &[]), b"name,ttft_ns,share,measured,gaps_ns\n");
    assert_eq!(read_parquet(written(FileFormat::Parquet, &[])), []);
}

/// A disk that is full after some bytes.
struct Small(usize);

impl Write for Small {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0 -= bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_said_by_every_format() {
    let row: Row = (
        Some("a text that has some length".into()),
        Some(1),
        Some(0.5),
        Some(true),
        None,
    );
    for format in [
        FileFormat::Csv,
        FileFormat::Json,
        FileFormat::JsonLines,
        FileFormat::Parquet,
    ] {
        let write = || -> Result<(), TableError> {
            let mut out = sink(format, &columns(), Small(40))?;
            out.row(&cells(&row))?;
            out.finish()
        };
        let error = write().unwrap_err();
        let kind = error.io().map(io::Error::kind);
        assert_eq!(kind, Some(io::ErrorKind::StorageFull), "{format:?}: {error}");
    }
}
