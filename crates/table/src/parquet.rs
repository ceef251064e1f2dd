//! Apache Parquet by the low-level writer of arrow-rs: one group of rows is gathered column by column, then written.

use crate::{Cell, Column, Columns, Kind, Sink, TableError};
use parquet::{
    basic::{Compression, LogicalType, Repetition, Type as Physical, ZstdLevel},
    data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type},
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::WriterProperties,
        writer::{SerializedColumnWriter, SerializedFileWriter},
    },
    schema::types::{Type, TypePtr},
};
use std::{io::Write, sync::Arc};

/// A group of rows is written once it has so many rows, or so many bytes in memory.
const GROUP_ROWS: usize = 65_536;
const GROUP_BYTES: usize = 16 << 20;

/// What the key of a column's unit begins with in the metadata of the file.
const UNIT: &str = "unit.";

fn failed(error: ParquetError) -> TableError {
    match error {
        // The writer wraps what the operating system said.
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(error) => TableError::Write(*error),
            Err(other) => TableError::Parquet(other.to_string()),
        },
        other => TableError::Parquet(other.to_string()),
    }
}

fn primitive(name: &str, physical: Physical, repetition: Repetition, text: bool) -> Result<Type, ParquetError> {
    Type::primitive_type_builder(name, physical)
        .with_repetition(repetition)
        .with_logical_type(text.then_some(LogicalType::String))
        .build()
}

/// The column as Parquet has it: optional, and a list in three levels, as its specification wants.
fn field(column: &Column) -> Result<Type, ParquetError> {
    let optional = |physical, text| primitive(column.name, physical, Repetition::OPTIONAL, text);
    match column.kind {
        Kind::Text => optional(Physical::BYTE_ARRAY, true),
        Kind::Integer => optional(Physical::INT64, false),
        Kind::Real => optional(Physical::DOUBLE, false),
        Kind::Boolean => optional(Physical::BOOLEAN, false),
        Kind::Integers => {
            let element = primitive("element", Physical::INT64, Repetition::REQUIRED, false)?;
            let list = Type::group_type_builder("list")
                .with_repetition(Repetition::REPEATED)
                .with_fields(vec![Arc::new(element)])
                .build()?;
            Type::group_type_builder(column.name)
                .with_repetition(Repetition::OPTIONAL)
                .with_logical_type(Some(LogicalType::List))
                .with_fields(vec![Arc::new(list)])
                .build()
        }
    }
}

fn schema(columns: &Columns) -> Result<TypePtr, ParquetError> {
    let fields: Vec<TypePtr> = columns
        .iter()
        .map(|c| field(c).map(Arc::new))
        .collect::<Result<_, _>>()?;
    Type::group_type_builder("rows")
        .with_fields(fields)
        .build()
        .map(Arc::new)
}

/// The gathered values of one column: those that are there, and how far each cell is defined.
enum Gathered {
    Text(Vec<ByteArray>, Vec<i16>),
    Integer(Vec<i64>, Vec<i16>),
    Real(Vec<f64>, Vec<i16>),
    Boolean(Vec<bool>, Vec<i16>),
    /// With whether an element goes on with the list before it (1) or begins one (0).
    Integers(Vec<i64>, Vec<i16>, Vec<i16>),
}

impl Gathered {
    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text(Vec::new(), Vec::new()),
            Kind::Integer => Self::Integer(Vec::new(), Vec::new()),
            Kind::Real => Self::Real(Vec::new(), Vec::new()),
            Kind::Boolean => Self::Boolean(Vec::new(), Vec::new()),
            Kind::Integers => Self::Integers(Vec::new(), Vec::new(), Vec::new()),
        }
    }

    /// Takes a cell, which is of this column's kind; returns about how many bytes it is in memory.
    fn push(&mut self, cell: &Cell<'_>) -> usize {
        fn put<T>(values: &mut Vec<T>, levels: &mut Vec<i16>, value: Option<T>) {
            levels.push(i16::from(value.is_some()));
            values.extend(value);
        }
        match (self, cell) {
            (Self::Text(values, levels), Cell::Text(text)) => {
                put(values, levels, Some(ByteArray::from(text.as_bytes().to_vec())));
                text.len() + size_of::<ByteArray>()
            }
            (Self::Integer(values, levels), Cell::Integer(n)) => {
                put(values, levels, Some(*n));
                size_of::<i64>()
            }
            (Self::Real(values, levels), Cell::Real(x)) => {
                put(values, levels, Some(*x));
                size_of::<f64>()
            }
            (Self::Boolean(values, levels), Cell::Boolean(yes)) => {
                put(values, levels, Some(*yes));
                size_of::<bool>()
            }
            (Self::Integers(values, defined, repeated), Cell::Integers(all)) => {
                // An empty list is there (1), but has no element (2).
                defined.extend(all.iter().map(|_| 2));
                repeated.extend(all.iter().enumerate().map(|(i, _)| i16::from(i > 0)));
                if all.is_empty() {
                    defined.push(1);
                    repeated.push(0);
                }
                values.extend_from_slice(all);
                all.len() * (size_of::<i64>() + 2 * size_of::<i16>())
            }
            (Self::Text(_, levels), _)
            | (Self::Integer(_, levels) | Self::Real(_, levels) | Self::Boolean(_, levels), _) => {
                levels.push(0);
                size_of::<i16>()
            }
            (Self::Integers(_, defined, repeated), _) => {
                defined.push(0);
                repeated.push(0);
                size_of::<i16>()
            }
        }
    }

    fn write(self, mut column: SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        fn batch<T: DataType>(
            column: &mut SerializedColumnWriter<'_>,
            (values, defined, repeated): (&[T::T], &[i16], Option<&[i16]>),
        ) -> Result<usize, ParquetError> {
            column.typed::<T>().write_batch(values, Some(defined), repeated)
        }
        match self {
            Self::Text(values, levels) => batch::<ByteArrayType>(&mut column, (&values, &levels, None)),
            Self::Integer(values, levels) => batch::<Int64Type>(&mut column, (&values, &levels, None)),
            Self::Real(values, levels) => batch::<DoubleType>(&mut column, (&values, &levels, None)),
            Self::Boolean(values, levels) => batch::<BoolType>(&mut column, (&values, &levels, None)),
            Self::Integers(values, defined, repeated) => {
                batch::<Int64Type>(&mut column, (&values, &defined, Some(&repeated)))
            }
        }?;
        column.close()
    }
}

pub(crate) struct Parquet<W: Write + Send> {
    columns: Columns,
    out: SerializedFileWriter<W>,
    gathered: Vec<Gathered>,
    rows: usize,
    bytes: usize,
}

impl<W: Write + Send> Parquet<W> {
    pub(crate) fn new(columns: &Columns, out: W) -> Result<Self, TableError> {
        let units = columns.iter().filter(|column| !column.unit.is_empty());
        let units = units.map(|column| KeyValue::new(format!("{UNIT}{}", column.name), column.unit.to_owned()));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(format!("servelab {}", env!("CARGO_PKG_VERSION")))
            .set_key_value_metadata(Some(units.collect()))
            .build();
        let schema = schema(columns).map_err(failed)?;
        Ok(Self {
            columns: columns.clone(),
            out: SerializedFileWriter::new(out, schema, Arc::new(properties)).map_err(failed)?,
            gathered: columns.iter().map(|column| Gathered::of(column.kind)).collect(),
            rows: 0,
            bytes: 0,
        })
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.out.next_row_group()?;
        for (gathered, column) in self.gathered.iter_mut().zip(self.columns.iter()) {
            let full = std::mem::replace(gathered, Gathered::of(column.kind));
            if let Some(writer) = group.next_column()? {
                full.write(writer)?;
            }
        }
        group.close()?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }
}

impl<W: Write + Send> Sink for Parquet<W> {
    fn row(&mut self, row: &[Cell<'_>]) -> Result<(), TableError> {
        self.columns.check(row)?;
        for (gathered, cell) in self.gathered.iter_mut().zip(row) {
            self.bytes += gathered.push(cell);
        }
        self.rows += 1;
        if self.rows >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
            self.write_group().map_err(failed)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), TableError> {
        if self.rows > 0 {
            self.write_group().map_err(failed)?;
        }
        self.out.close().map(drop).map_err(failed)
    }
}
