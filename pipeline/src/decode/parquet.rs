//! The agent's Parquet, by the columns of `schema`.
//!
//! Reads a few thousand rows of each column at a time, and puts rows of equal texts together: rows stand series by series.

use bytes::Bytes;
use parquet::basic::Type as PhysicalType;
use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader as _, RowGroupReader, SerializedFileReader};

use super::{BYTES_MAX, Column, Counts, Description, Error, RowGroup, Sample};
use crate::model::labels::{LabelsBuilder, METRIC_NAME};
use crate::model::sample::MetricType;
use crate::model::series::Series;

/// Rows that are held at a time.
const ROWS: usize = if cfg!(test) { 7 } else { 8192 };

/// The leaves of the column `labels`.
const KEY: &str = "labels.key_value.key";
const VALUE: &str = "labels.key_value.value";

fn problem(error: &ParquetError) -> Error {
    Error::Parquet(error.to_string())
}

fn lacks(what: &str) -> Error {
    Error::Parquet(what.to_owned())
}

fn open(bytes: &Bytes) -> Result<SerializedFileReader<Bytes>, Error> {
    SerializedFileReader::new(bytes.clone()).map_err(|error| problem(&error))
}

pub(super) fn describe(bytes: &Bytes) -> Result<Description, Error> {
    let reader = open(bytes)?;
    let file = reader.metadata();
    let count = |n: i64| u64::try_from(n).unwrap_or_default();
    let column = |column: &parquet::file::metadata::ColumnChunkMetaData| Column {
        name: column.column_path().string(),
        physical_type: column.column_type().to_string(),
        // The level is not kept, and the reader makes one up.
        compression: column.compression().to_string().split('(').next().unwrap_or_default().to_owned(),
        encodings: column.encodings().map(|encoding| encoding.to_string()).collect(),
        compressed_bytes: count(column.compressed_size()),
        bytes: count(column.uncompressed_size()),
    };
    let groups = file.row_groups().iter().map(|group| RowGroup {
        rows: count(group.num_rows()),
        columns: group.columns().iter().map(column).collect(),
    });
    let pairs = file.file_metadata().key_value_metadata().cloned().unwrap_or_default();
    Ok(Description {
        rows: count(file.file_metadata().num_rows()),
        created_by: file.file_metadata().created_by().unwrap_or_default().to_owned(),
        metadata: pairs.into_iter().map(|pair| (pair.key, pair.value.unwrap_or_default())).collect(),
        row_groups: groups.collect(),
    })
}

pub(super) fn read(bytes: &Bytes, each: &mut dyn FnMut(&Series, &[Sample])) -> Result<Counts, Error> {
    let reader = open(bytes)?;
    let sizes = reader.metadata().row_groups().iter().map(|group| group.total_byte_size());
    if sizes.fold(0_u64, |sum, size| sum.saturating_add(u64::try_from(size).unwrap_or(u64::MAX))) > BYTES_MAX
    {
        return Err(Error::Large);
    }
    let mut counts = Counts::default();
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(|error| problem(&error))?;
        let mut columns = Columns::open(group.as_ref())?;
        while columns.fill()? {
            columns.runs(|series, samples| {
                counts.samples += samples.len() as u64;
                each(series, samples);
            })?;
        }
    }
    Ok(counts)
}

/// One column without levels, and what of it is held.
struct Plain<T: DataType> {
    reader: ColumnReaderImpl<T>,
    values: Vec<T::T>,
}

impl<T: DataType> Plain<T> {
    fn fill(&mut self) -> Result<usize, Error> {
        self.values.clear();
        let (rows, ..) =
            self.reader.read_records(ROWS, None, None, &mut self.values).map_err(|error| problem(&error))?;
        Ok(rows)
    }
}

/// A leaf of the map: the number of entries of each row, and the texts of all one behind the other.
struct Leaf {
    reader: ColumnReaderImpl<ByteArrayType>,
    texts: Vec<ByteArray>,
    ends: Vec<usize>,
    levels: (Vec<i16>, Vec<i16>),
}

impl Leaf {
    fn fill(&mut self) -> Result<usize, Error> {
        let (definition, repetition) = &mut self.levels;
        definition.clear();
        repetition.clear();
        self.texts.clear();
        self.ends.clear();
        let (rows, ..) = self
            .reader
            .read_records(ROWS, Some(definition), Some(repetition), &mut self.texts)
            .map_err(|error| problem(&error))?;
        let mut end = 0;
        // An empty map is a place without a text ("Nested Encoding").
        for (defined, repeated) in definition.iter().zip(repetition.iter()) {
            if *repeated == 0 {
                self.ends.push(end);
            }
            end += usize::from(*defined > 0);
        }
        self.ends.push(end);
        if self.ends.len() == rows + 1 && end == self.texts.len() {
            Ok(rows)
        } else {
            Err(lacks("the column labels has other rows than it says"))
        }
    }

    fn of_row(&self, row: usize) -> &[ByteArray] {
        let (start, end) = (self.ends.get(row), self.ends.get(row + 1));
        start.zip(end).and_then(|(start, end)| self.texts.get(*start..*end)).unwrap_or_default()
    }
}

/// All columns of a row group.
struct Columns {
    timestamps: Plain<Int64Type>,
    values: Plain<DoubleType>,
    metric: Plain<ByteArrayType>,
    types: Plain<ByteArrayType>,
    promoted: Vec<(String, Plain<ByteArrayType>)>,
    keys: Leaf,
    contents: Leaf,
    rows: usize,
}

impl Columns {
    fn open(group: &dyn RowGroupReader) -> Result<Self, Error> {
        let places = group.metadata().columns().iter().enumerate();
        let columns: Vec<_> = places
            .map(|(at, column)| (column.column_path().string(), column.column_type(), column, at))
            .collect();
        let find = |name: &str, physical: PhysicalType, nested: bool| {
            let found = columns.iter().find(|(found, ..)| found == name);
            let (_, found, column, at) = found.ok_or_else(|| lacks(&format!("there is no column {name}")))?;
            let column = column.column_descr();
            let levels = (column.max_def_level(), column.max_rep_level());
            if *found != physical || levels != (i16::from(nested), i16::from(nested)) {
                return Err(lacks(&format!("the column {name} is not as the agent writes it")));
            }
            group.get_column_reader(*at).map_err(|error| problem(&error))
        };
        let text = |name: &str| {
            let reader = get_typed_column_reader(find(name, PhysicalType::BYTE_ARRAY, false)?);
            Ok::<_, Error>(Plain { reader, values: Vec::new() })
        };
        let leaf = |name: &str| {
            let reader = get_typed_column_reader(find(name, PhysicalType::BYTE_ARRAY, true)?);
            Ok::<_, Error>(Leaf { reader, texts: Vec::new(), ends: Vec::new(), levels: Default::default() })
        };
        let (timestamps, values) =
            (find("timestamp", PhysicalType::INT64, false)?, find("value", PhysicalType::DOUBLE, false)?);
        let is_label = |name: &str, physical: PhysicalType| {
            physical == PhysicalType::BYTE_ARRAY && !name.contains('.') && name != "metric" && name != "type"
        };
        let promoted = columns.iter().filter(|(name, physical, ..)| is_label(name, *physical));
        Ok(Self {
            timestamps: Plain { reader: get_typed_column_reader(timestamps), values: Vec::new() },
            values: Plain { reader: get_typed_column_reader(values), values: Vec::new() },
            metric: text("metric")?,
            types: text("type")?,
            promoted: promoted
                .map(|(name, ..)| Ok((name.clone(), text(name)?)))
                .collect::<Result<_, Error>>()?,
            keys: leaf(KEY)?,
            contents: leaf(VALUE)?,
            rows: 0,
        })
    }

    /// Reads the next rows; false at the end.
    fn fill(&mut self) -> Result<bool, Error> {
        self.rows = self.timestamps.fill()?;
        let mut counts = vec![self.values.fill()?, self.metric.fill()?, self.types.fill()?];
        counts.extend([self.keys.fill()?, self.contents.fill()?]);
        for (_, column) in &mut self.promoted {
            counts.push(column.fill()?);
        }
        if counts.iter().any(|count| *count != self.rows) {
            return Err(lacks("not all columns have as many rows"));
        }
        Ok(self.rows > 0)
    }

    /// Gives the rows that are held, those of one series together.
    fn runs(&self, mut each: impl FnMut(&Series, &[Sample])) -> Result<(), Error> {
        let times = self.timestamps.values.iter().copied();
        let samples: Vec<Sample> = times.zip(self.values.values.iter().copied()).collect();
        let mut start = 0;
        while start < self.rows {
            let mut end = start + 1;
            while end < self.rows && self.is_same(start, end) {
                end += 1;
            }
            let series = self.series(start)?;
            each(&series, samples.get(start..end).unwrap_or_default());
            start = end;
        }
        Ok(())
    }

    fn is_same(&self, one: usize, other: usize) -> bool {
        let is_equal = |column: &Plain<ByteArrayType>| column.values.get(one) == column.values.get(other);
        is_equal(&self.metric)
            && self.promoted.iter().all(|(_, column)| is_equal(column))
            && is_equal(&self.types)
            && self.keys.of_row(one) == self.keys.of_row(other)
            && self.contents.of_row(one) == self.contents.of_row(other)
    }

    fn series(&self, row: usize) -> Result<Series, Error> {
        let mut labels = LabelsBuilder::default();
        let column = |column: &Plain<ByteArrayType>| match column.values.get(row) {
            Some(value) => text(value),
            None => Ok(String::new()),
        };
        labels.set(METRIC_NAME, &column(&self.metric)?);
        for (name, promoted) in &self.promoted {
            labels.set(name, &column(promoted)?);
        }
        for (name, value) in self.keys.of_row(row).iter().zip(self.contents.of_row(row)) {
            labels.set(&text(name)?, &text(value)?);
        }
        let metric_type = MetricType::from_name(&column(&self.types)?).unwrap_or_default();
        Ok(Series { labels: labels.build(), metric_type })
    }
}

fn text(bytes: &ByteArray) -> Result<String, Error> {
    bytes.as_utf8().map(str::to_owned).map_err(|error| problem(&error))
}
