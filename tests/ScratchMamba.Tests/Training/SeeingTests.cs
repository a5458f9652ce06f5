using System.Buffers.Binary;
using System.Text;
using System.Xml.Linq;
using ScratchMamba.Reports;
using ScratchMamba.Training.Seeing;

namespace ScratchMamba.Tests.Training;

/// <summary>What is written of a training can be read, whole, by others.</summary>
public sealed class SeeingTests : IDisposable
{
    private static readonly DateTimeOffset Now = new(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private static MetricsRow Row(long step, double loss) => new(step)
    {
        Values = new Dictionary<string, double> { [MetricsFile.Loss] = loss, [MetricsFile.LearningRate] = 1e-3, [MetricsFile.GradientNorm] = 0.5, [MetricsFile.Tokens] = step * 10, [MetricsFile.Seconds] = step, [MetricsFile.Speed] = 10 },
    };

    [Fact]
    public void MetricsGoOnAfterTheStepThatIsResumed()
    {
        using (var first = new MetricsFile(folder.Path, 0))
        {
            for (int step = 1; step <= 10; step++)
                first.Write(Row(step, step));
            first.Write(new MetricsRow(10) { Texts = new Dictionary<string, string> { [MetricsFile.Sample] = "a \"b\"\n\u0001" } });
        }
        // Killed while it wrote: half a line.
        File.AppendAllText(folder.File(MetricsFile.Name), "{\"step\":11,\"lo");
        Assert.Equal(11, MetricsFile.Read(folder.Path).Count());
        using (var second = new MetricsFile(folder.Path, 6))
        {
            Assert.Equal(60, second.Last![MetricsFile.Tokens]);
            second.Write(Row(7, double.NaN));
        }
        Assert.Equal([1, 2, 3, 4, 5, 6, 7], MetricsFile.Read(folder.Path).Select(row => row.Step));
        Assert.True(double.IsNaN(MetricsFile.Read(folder.Path).Last()[MetricsFile.Loss]));
        using (new MetricsFile(folder.Path, 0))
            Assert.Empty(MetricsFile.Read(folder.Path));
    }

    [Fact]
    public void ChecksumsAreThoseOfTheStandard()
    {
        // CRC-32C of "123456789" is e3069283 (RFC 3720, B.4), and masked it is that turned right by 15, plus a282ead8.
        uint crc = 0xe3069283, masked = (crc >> 15 | crc << 17) + 0xa282ead8;
        Assert.Equal(masked, TensorBoardFile.Checksum("123456789"u8));
    }

    [Fact]
    public void EventsAreRecordsOfProtocolBuffers()
    {
        using (var board = new TensorBoardFile(folder.Path, 8, Now))
        {
            board.Scalars(Now, 300, ("a", 1.5), ("b", -2));
            board.Text(Now, 301, "t", "früh");
            board.Histogram(Now, 302, "h", [0, 1, 1, 2, float.NaN]);
        }
        List<byte[]> records = Records(File.ReadAllBytes(Directory.GetFiles(folder.Path, "events.out.tfevents.*")[0]));
        Assert.Equal(5, records.Count);
        Assert.Equal("brain.Event:2", Encoding.UTF8.GetString(Field(records[0], 3).Single()));
        // What older files say of this step and later ones no longer counts.
        Assert.Equal((8ul, 1ul), (Number(records[1], 2), Number(Field(records[1], 7).Single(), 1)));
        Assert.Equal(300ul, Number(records[2], 2));
        byte[][] values = [.. Field(Field(records[2], 5).Single(), 1)];
        Assert.Equal(["a", "b"], values.Select(value => Encoding.UTF8.GetString(Field(value, 1).Single())));
        Assert.Equal([1.5f, -2f], values.Select(value => BinaryPrimitives.ReadSingleLittleEndian(Field(value, 2).Single())));
        byte[] text = Field(Field(records[3], 5).Single(), 1).Single();
        Assert.Equal("früh", Encoding.UTF8.GetString(Field(Field(text, 8).Single(), 8).Single()));
        Assert.Equal("text", Encoding.UTF8.GetString(Field(Field(Field(text, 9).Single(), 1).Single(), 1).Single()));
        byte[] histogram = Field(Field(Field(records[4], 5).Single(), 1).Single(), 5).Single();
        double Single(int field) => BinaryPrimitives.ReadDoubleLittleEndian(Field(histogram, field).Single());
        Assert.Equal((0, 2, 4, 4, 6), (Single(1), Single(2), Single(3), Single(4), Single(5)));
        double[] limits = Doubles(Field(histogram, 6).Single()), counts = Doubles(Field(histogram, 7).Single());
        Assert.Equal((limits.Length, 4.0, 2.0), (counts.Length, counts.Sum(), limits[^1]));
        Assert.Equal([1, 2, 1], counts.Where(count => count > 0));
    }

    [Fact]
    public void ANewRunForgetsTheEventsOfTheOneBefore()
    {
        new TensorBoardFile(folder.Path, 0, Now).Dispose();
        new TensorBoardFile(folder.Path, 5, Now).Dispose();
        Assert.Equal(2, Directory.GetFiles(folder.Path).Length);
        new TensorBoardFile(folder.Path, 0, Now).Dispose();
        Assert.Single(Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void TheReportIsWellFormedWhateverTheModelWrites()
    {
        MetricsRow[] rows =
        [
            .. Enumerable.Range(1, 1000).Select(step => Row(step, 5.0 / step)),
            new MetricsRow(1000) { Values = new Dictionary<string, double> { [MetricsFile.HeldOut] = 1.25 } },
            new MetricsRow(1000) { Texts = new Dictionary<string, string> { [MetricsFile.Prompt] = "<b>", [MetricsFile.Sample] = "\0\u0007\ufffe </pre>&amp; 😀" } },
            new MetricsRow(1000) { Texts = new Dictionary<string, string> { [MetricsFile.Notice] = "skipped: <x>" } },
        ];
        string page = TrainingReport.Page("run", "scratchmamba train --data 'a b'", [("model", "small & fine")], rows);
        XElement html = XElement.Parse(page[page.IndexOf('\n')..]);
        Assert.Contains("scratchmamba train --data 'a b'", html.Descendants("code").Select(code => code.Value));
        Assert.Contains("1.2500", html.Descendants("p").First().Value, StringComparison.Ordinal);
        Assert.Equal("<b>\ufffd\ufffd\ufffd </pre>&amp; 😀", html.Descendants("pre").Single().Value);
        Assert.True(html.Descendants("svg").Count() >= 6);
        Assert.DoesNotContain(html.Descendants(), element => element.Name.LocalName is "script" or "link" or "img");
    }

    [Fact]
    public void ManyStepsBecomeFewPointsThatLoseNeitherPeakNorMean()
    {
        MetricsRow[] rows = [.. Enumerable.Range(1, 10_000).Select(step => Row(step, step == 5003 ? 1000 : 1))];
        Datum[] curve = TrainingReport.Curve(rows, MetricsFile.Loss);
        Assert.Equal(400, curve.Length);
        Assert.Equal(1000, curve.Max(point => point.High));
        Assert.Equal(rows.Average(row => row[MetricsFile.Loss]), curve.Average(point => point.Y), 1e-9);
        Assert.Equal(3, TrainingReport.Curve(rows[..3], MetricsFile.Loss).Length);
        // So the page of a run of any length has about the same size.
        int Size(int count) => TrainingReport.Page("run", "", [], rows[..count]).Length;
        Assert.InRange(Size(10_000) / (double)Size(1_000), 0.8, 1.25);
    }

    private static List<byte[]> Records(byte[] file)
    {
        var records = new List<byte[]>();
        for (int at = 0; at < file.Length;)
        {
            int length = (int)BinaryPrimitives.ReadInt64LittleEndian(file.AsSpan(at));
            Assert.Equal(TensorBoardFile.Checksum(file.AsSpan(at, 8)), BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(at + 8)));
            byte[] record = file[(at + 12)..(at + 12 + length)];
            Assert.Equal(TensorBoardFile.Checksum(record), BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(at + 12 + length)));
            records.Add(record);
            at += length + 16;
        }
        return records;
    }

    private static double[] Doubles(byte[] bytes) => [.. Enumerable.Range(0, bytes.Length / 8).Select(i => BinaryPrimitives.ReadDoubleLittleEndian(bytes.AsSpan(8 * i)))];

    private static ulong Number(byte[] message, int field) => BinaryPrimitives.ReadUInt64LittleEndian(Field(message, field).Single());

    /// <summary>The contents of a field of a protocol buffer; a number as eight bytes.</summary>
    private static IEnumerable<byte[]> Field(byte[] message, int field)
    {
        for (int at = 0; at < message.Length;)
        {
            ulong key = Varint(message, ref at);
            int length = (key & 7) switch { 1 => 8, 5 => 4, 2 => (int)Varint(message, ref at), _ => 0 };
            byte[] content = (key & 7) == 0 ? BitConverter.GetBytes(Varint(message, ref at)) : message[at..(at + length)];
            at += length;
            if ((int)(key >> 3) == field)
                yield return content;
        }
    }

    private static ulong Varint(byte[] message, ref int at)
    {
        ulong value = 0;
        for (int shift = 0; ; shift += 7)
        {
            byte next = message[at++];
            value |= (ulong)(next & 0x7f) << shift;
            if (next < 0x80)
                return value;
        }
    }
}
