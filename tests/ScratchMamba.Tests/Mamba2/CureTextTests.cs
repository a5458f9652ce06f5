using ScratchMamba.Mamba2.Cures;

namespace ScratchMamba.Tests.Mamba2;

/// <summary>The text form of cures.</summary>
public class CureTextTests
{
    [Theory]
    [InlineData("none")]
    [InlineData("retention=0.99,insertion=0.75,window=64")]
    [InlineData("retention=1/0.99/0.98,step=0.5,decay=1.5,norm=2x@64,filter=4096,reset=64")]
    [InlineData("norm=0.5")]
    [InlineData("norm=1E-05@3,stagger=8")]
    [InlineData("filter=8192:1E-30")]
    public void WhatIsReadIsWritten(string text) => Assert.Equal(text, Cure.Parse(text).ToString());

    [Fact]
    public void TheSettingsMeanWhatTheySay()
    {
        var cure = Cure.Parse(" retention = 0.9 , norm=2x@16,filter=100:0.25");
        Assert.Equal(0.9, cure.Retention[7]);
        Assert.Equal(new StateNormalization(2, IsRelative: true, Period: 16), cure.Normalization);
        Assert.Equal(new TokenFilter(100, 0.25), cure.Filter);
        Assert.True(cure.NeedsCalibration);
        Assert.Equal([1.0, 0.5], Enumerable.Range(0, 2).Select(layer => Cure.Parse("insertion=1/0.5").Insertion[layer]));
        Assert.Equal(Cure.Parse("retention=0.5"), new Cure { Retention = 0.5 });
        Assert.Equal(Cure.None, Cure.Parse("retention=1"));
    }

    [Theory]
    [InlineData("", "There is no cure ''")]
    [InlineData("windows=3", "There is no cure 'windows'; there are retention, insertion,")]
    [InlineData("window", "The cure 'window' is written window=R: states hold what the last R tokens wrote, exactly; its value is ''.")]
    [InlineData("window=", "written window=R")]
    [InlineData("window=0", "its value is '0'")]
    [InlineData("window=1.5", "its value is '1.5'")]
    [InlineData("retention=x", "written retention=M")]
    [InlineData("retention=0.9//0.8", "its value is '0.9//0.8'")]
    [InlineData("retention=NaN", "its value is 'NaN'")]
    [InlineData("norm=x", "written norm=CAP[x][@K]")]
    [InlineData("norm=1@0", "its value is '1@0'")]
    [InlineData("filter=10:", "its value is '10:'")]
    [InlineData("step=1,step=2", "The cure 'step' is given twice.")]
    [InlineData("step=1,", "There is no cure ''")]
    public void WhatIsNotUnderstoodSaysWhy(string text, string words) =>
        Assert.Contains(words, Assert.Throws<FormatException>(() => Cure.Parse(text)).Message, StringComparison.Ordinal);
}
