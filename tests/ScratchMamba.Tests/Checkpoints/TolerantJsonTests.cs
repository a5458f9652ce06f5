using ScratchMamba.Checkpoints;

namespace ScratchMamba.Tests.Checkpoints;

public class TolerantJsonTests
{
    [Theory]
    [InlineData("Infinity", double.PositiveInfinity)]
    [InlineData("-Infinity", double.NegativeInfinity)]
    [InlineData("NaN", double.NaN)]
    [InlineData("\"Infinity\"", double.PositiveInfinity)]
    [InlineData("\"-Infinity\"", double.NegativeInfinity)]
    [InlineData("\"NaN\"", double.NaN)]
    [InlineData("{\"__float__\": \"Infinity\"}", double.PositiveInfinity)]
    [InlineData("{\"__float__\": \"-Infinity\"}", double.NegativeInfinity)]
    [InlineData("{\"__float__\": 1.5}", 1.5)]
    [InlineData("1e999", double.PositiveInfinity)]
    [InlineData("-1e999", double.NegativeInfinity)]
    [InlineData("1e-999", 0)]
    [InlineData("-2.5e-3", -2.5e-3)]
    [InlineData("123456789012345678901234567890", 123456789012345678901234567890.0)]
    public void NumbersAreReadInEveryForm(string written, double expected)
    {
        TolerantJson json = TolerantJson.Parse($"{{\"a\": {written}, \"list\": [0.0, {written}]}}", "config.json");
        Assert.Equal(expected, json.Number("a"));
        Assert.Equal([0, expected], json.Numbers("list")!);
    }

    [Fact]
    public void TextIsNotTouched()
    {
        TolerantJson json = TolerantJson.Parse("""{"a": "Infinity and NaN, \"-Infinity\" \\", "Infinity": 3, "b": "\\"}""", "config.json");
        Assert.Equal("Infinity and NaN, \"-Infinity\" \\", json.Text("a"));
        Assert.Equal(3, json.WholeNumber("Infinity"));
        Assert.Equal("\\", json.Text("b"));
    }

    [Fact]
    public void AbsentAndNullAreTheSame()
    {
        TolerantJson json = TolerantJson.Parse("""{"a": null}""", "config.json");
        foreach (string name in new[] { "a", "b" })
        {
            Assert.False(json.Has(name));
            Assert.Equal(2.5, json.Number(name, 2.5));
            Assert.Equal(7, json.WholeNumber(name, 7));
            Assert.True(json.Flag(name, true));
            Assert.Equal("x", json.Text(name, "x"));
            Assert.Null(json.Numbers(name));
            Assert.Null(json.Texts(name));
            Assert.Null(json.Section(name));
        }
        Assert.Equal("config.json: line 1: a is missing", Assert.Throws<CheckpointException>(() => json.Number("a")).Message);
        Assert.Equal("config.json: b is missing", Assert.Throws<CheckpointException>(() => json.Flag("b")).Message);
    }

    [Fact]
    public void ErrorsNameTheLineAndTheProperty()
    {
        TolerantJson json = TolerantJson.Parse(
            """
            {
              "other": {"d_state": 1, "size": 1},
              "size": "big",
              "ssm_cfg": {
                "headdim": 4,
                "d_state": 2.5
              },
              "names": ["a", 1]
            }
            """,
            "config.json");
        AssertMessage("config.json: line 3: size must be a number; got \"big\"", () => json.WholeNumber("size"));
        AssertMessage("config.json: line 6: ssm_cfg.d_state must be an integer; got 2.5", () => json.Section("ssm_cfg")!.WholeNumber("d_state"));
        AssertMessage("config.json: line 8: names must be an array of strings; got [\"a\", 1]", () => json.Texts("names"));
        AssertMessage("config.json: line 3: size must be true or false; got \"big\"", () => json.Flag("size"));
        AssertMessage("config.json: line 3: size must be an object; got \"big\"", () => json.Section("size"));
        AssertMessage("config.json: line 8: names must be a string; got [\"a\", 1]", () => json.Text("names"));

        static void AssertMessage(string expected, Func<object?> read) => Assert.Equal(expected, Assert.Throws<CheckpointException>(() => { read(); }).Message);
    }

    [Theory]
    [InlineData("{\n  \"a\": 1,\n  \"b\": \n}", "config.json: line 4: not valid JSON")]
    [InlineData("{\n\"a\": Infinit\n}", "config.json: line 2: not valid JSON")]
    [InlineData("{\"a\": 1,\n \"a\": 2}", "config.json: line 1: not valid JSON")]
    [InlineData("", "config.json: line 1: not valid JSON")]
    [InlineData("[1]", "config.json: line 1: a JSON object was expected")]
    [InlineData("{\"a\": \"unfinished", "config.json: line 1: not valid JSON")]
    [InlineData("{\"a\": \"unfinished\\", "config.json: line 1: not valid JSON")]
    public void WhatIsNotJsonIsRefused(string text, string message) =>
        Assert.StartsWith(message, Assert.Throws<CheckpointException>(() => TolerantJson.Parse(text, "config.json")).Message, StringComparison.Ordinal);

    [Fact]
    public void GoldenConfigurationsAreRead()
    {
        TolerantJson config = TolerantJson.Read(Golden.File("hf-tiny/config.json"));
        Assert.Equal("mamba2", config.Text("model_type"));
        Assert.Equal(0, config.Numbers("time_step_limit")![0]);
        TolerantJson other = TolerantJson.Read(Golden.File("ssm-tied/config.json"));
        Assert.Equal("Mamba2", other.Section("ssm_cfg")!.Text("layer"));
        Assert.Contains("none.json: cannot be read", Assert.Throws<CheckpointException>(() => TolerantJson.Read(Golden.File("none.json"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void DamagedTextIsNeverMoreThanACheckpointException() => Properties.ForAll(300, (choices, seed) =>
    {
        const string Whole = """{"a": Infinity, "b": [1, "NaN", {"__float__": "-Infinity"}], "c": {"d": "x\u00e9\"y"}, "e": null}""";
        var random = new Random(seed);
        char[] text = Whole.ToCharArray();
        foreach (int choice in choices)
            text[random.Next(text.Length)] = (char)(choice & 0x7F);
        try
        {
            TolerantJson json = TolerantJson.Parse(new string(text, 0, random.Next(text.Length + 1)), "config.json");
            json.Number("a", 0);
            json.Numbers("b");
            json.Section("c")?.Text("d", "");
        }
        catch (CheckpointException error)
        {
            Assert.StartsWith("config.json: ", error.Message, StringComparison.Ordinal);
            Assert.DoesNotContain('\n', error.Message);
        }
    });
}
