using ScratchMamba.Tokenizers;

namespace ScratchMamba.Tests.Tokenizers;

public class ChatTemplateTests
{
    private static readonly (string, string)[] Talk = [("system", " Be brief. "), ("user", "hi"), ("assistant", "yes?"), ("user", "bye")];

    [Theory]
    [InlineData(
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        "<|im_start|>system\n Be brief. <|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes?<|im_end|>\n<|im_start|>user\nbye<|im_end|>\n<|im_start|>assistant\n")]
    [InlineData(
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
        "<|system|>\n Be brief. </s>\n<|user|>\nhi</s>\n<|assistant|>\nyes?</s>\n<|user|>\nbye</s>\n<|assistant|>\n")]
    [InlineData(
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system = messages[0]['content'] | trim %}{% else %}{% set loop_messages = messages %}{% set system = false %}{% endif %}{%- for m in loop_messages -%}\n  {% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns must alternate') }}{% endif %}{# a note #}{{ loop.index ~ ':' ~ m.content }}{% if loop.first and system is defined and not false %} ({{ system }}){% endif %}\n{% endfor %}{{ '.' if false }}",
        null)]
    [InlineData(
        "{{ bos_token }}{% set first = messages[0] %}{%- for m in messages[1:] -%}\n  {% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns must alternate') }}{% endif %}{# a note #}{{ loop.index ~ ':' ~ m.content }}{% if loop.first and first is defined %} ({{ first.content.strip() }}){% endif %}\n{% endfor %}{{ messages | length }}{{ messages[-1].role | upper }}",
        "<s>1:hi (Be brief.)2:yes?3:bye4USER")]
    public void TemplatesOfTheCommonKindsAreFilled(string template, string? expected)
    {
        if (expected is null)
            Assert.Contains("'if' is not supported", Assert.Throws<FormatException>(() => new ChatTemplate(template, "<s>", "</s>")).Message, StringComparison.Ordinal);
        else
            Assert.Equal(expected, new ChatTemplate(template, "<s>", "</s>").Format(Talk));
    }

    [Theory]
    [InlineData("{% macro x() %}{% endmacro %}", "'macro'")]
    [InlineData("{{ namespace(a=1) }}", "'namespace()'")]
    [InlineData("{{ x | tojson }}", "'tojson'")]
    [InlineData("{{ messages[0].content.split('x') }}", "'split()'|')'")]
    [InlineData("{% if x %}", "'endif' is missing")]
    [InlineData("{% for x in messages %}", "'endfor' is missing")]
    [InlineData("{% endfor %}", "'endfor' where none is open")]
    [InlineData("{% for x in messages %}{% endif %}", "'endif' where none is open")]
    [InlineData("{{ 'a' + }}", "ends too early")]
    [InlineData("{{ }}", "empty")]
    public void WhatIsNotSupportedIsNamed(string template, string words)
    {
        string message = Assert.Throws<FormatException>(() => new ChatTemplate(template)).Message;
        Assert.Contains(words.Split('|'), word => message.Contains(word, StringComparison.Ordinal));
    }

    [Fact]
    public void AMaliciousTemplateComesToAnEnd()
    {
        string loops = string.Concat(Enumerable.Range(0, 30).Select(i => $"{{% for m{i} in messages %}}"));
        string ends = string.Concat(Enumerable.Repeat("{% endfor %}", 30));
        Assert.Contains("end", Assert.Throws<FormatException>(() => new ChatTemplate(loops + "x" + ends).Format(Talk)).Message, StringComparison.Ordinal);
        Assert.Contains("deeply", Assert.Throws<FormatException>(() => new ChatTemplate("{{ " + new string('(', 30_000) + " }}")).Message, StringComparison.Ordinal);
        Assert.Contains("deeply", Assert.Throws<FormatException>(() => new ChatTemplate(string.Concat(Enumerable.Repeat("{% if a %}", 3000)))).Message, StringComparison.Ordinal);
        Assert.Contains("longer", Assert.Throws<FormatException>(() => new ChatTemplate(new string('x', 1 << 17))).Message, StringComparison.Ordinal);
        string grows = string.Concat(Enumerable.Repeat("{% set a = a + a %}", 2000));
        Assert.Throws<FormatException>(() => new ChatTemplate("{% set a = 'aaaaaaaa' %}" + grows).Format(Talk));
    }

    [Fact]
    public void ARefusalIsTold() => Assert.Contains("no systems", Assert.Throws<FormatException>(() => new ChatTemplate("{% if messages[0].role == 'system' %}{{ raise_exception('no systems') }}{% endif %}").Format(Talk)).Message, StringComparison.Ordinal);
}
