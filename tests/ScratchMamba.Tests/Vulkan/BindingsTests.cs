using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using ScratchMamba.Vulkan.Bindings;

namespace ScratchMamba.Tests.Vulkan;

/// <summary>The bindings' structures have the sizes and offsets that a C compiler gives them.</summary>
public class BindingsTests
{
    private static string Expected => Path.Combine(AppContext.BaseDirectory, "Vulkan", "layouts.txt");

    private static Type[] Structures => [.. typeof(Vk).Assembly.GetTypes()
        .Where(type => type.Namespace == typeof(Vk).Namespace && type is { IsValueType: true, IsEnum: false, IsNested: false } && type != typeof(Bool32) && type.GetField("Handle", Everything) is null
            && type.GetField("<Handle>k__BackingField", Everything) is null)
        .OrderBy(type => type.Name, StringComparer.Ordinal)];

    private const BindingFlags Everything = BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic;

    [Fact]
    public void LayoutsAreThoseOfTheCompiler()
    {
        if (!Environment.Is64BitProcess)
            return;
        Assert.Equal(File.ReadAllLines(Expected), Lines());
    }

    /// <summary>The committed layouts are what the compiler of this machine says, where it has one and Vulkan's headers.</summary>
    [Fact]
    public void CommittedLayoutsAreThoseOfTheCompiler()
    {
        if (!OperatingSystem.IsLinux() || !File.Exists("/usr/include/vulkan/vulkan.h") || !File.Exists("/usr/bin/gcc"))
            return;
        // Older headers do not know every extension.
        string header = File.ReadAllText("/usr/include/vulkan/vulkan_core.h");
        string[] known = [.. File.ReadAllLines(Expected).Where(line => header.Contains($"}} Vk{line.Split(' ')[0]};", StringComparison.Ordinal))];
        Assert.NotEmpty(known);
        using var folder = new TemporaryFolder();
        string source = Path.Combine(folder.Path, "layouts.c"), program = Path.Combine(folder.Path, "layouts");
        File.WriteAllLines(source,
        [
            "#include <stdio.h>", "#include <stddef.h>", "#include <vulkan/vulkan.h>", "int main(void) {",
            .. known.SelectMany(Statements),
            "return 0; }",
        ]);
        Run("/usr/bin/gcc", source, "-o", program);
        Assert.Equal(known, Run(program).Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }

    private static IEnumerable<string> Statements(string line)
    {
        string[] words = line.Split(' ');
        string type = "Vk" + words[0];
        yield return $"printf(\"{words[0]} %zu\", sizeof({type}));";
        foreach (string field in words.Skip(2).Select(word => word.Split(':')[0]))
        {
            string name = char.ToLowerInvariant(field[0]) + field[1..];
            yield return $"printf(\" {field}:%zu\", offsetof({type}, {name}));";
        }
        yield return "puts(\"\");";
    }

    private static IEnumerable<string> Lines() => Structures.Select(type =>
        string.Join(' ', [type.Name, SizeOf(type).ToString(CultureInfo.InvariantCulture), .. type.GetFields(Everything).OrderBy(field => field.MetadataToken).Select(field => $"{field.Name}:{OffsetOf(type, field)}")]));

    private static int SizeOf(Type type) => (int)typeof(Unsafe).GetMethod(nameof(Unsafe.SizeOf))!.MakeGenericMethod(type).Invoke(null, null)!;

    private static unsafe long OffsetOf(Type type, FieldInfo field)
    {
        var method = new DynamicMethod("Offset", typeof(long), [typeof(nint)], typeof(Vk).Module, skipVisibility: true);
        ILGenerator code = method.GetILGenerator();
        code.Emit(OpCodes.Ldarg_0);
        code.Emit(OpCodes.Ldflda, field);
        code.Emit(OpCodes.Conv_I);
        code.Emit(OpCodes.Ldarg_0);
        code.Emit(OpCodes.Sub);
        code.Emit(OpCodes.Conv_I8);
        code.Emit(OpCodes.Ret);
        var place = new byte[4096];
        fixed (byte* start = place)
            return (long)method.Invoke(null, [(nint)start])!;
    }

    private static string Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        string output = process.StandardOutput.ReadToEnd(), error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, error);
        return output;
    }
}
