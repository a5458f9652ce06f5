using System.Text.Json.Serialization;

namespace ScratchMamba.Studies.Measures;

/// <summary>How results are written as JSON, without reflection.</summary>
[JsonSourceGenerationOptions(IncludeFields = false, NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals, IgnoreReadOnlyProperties = true)]
[JsonSerializable(typeof(LengthProfile))]
[JsonSerializable(typeof(PasskeyTable))]
[JsonSerializable(typeof(StateTrace))]
[JsonSerializable(typeof(CalibratedProfile))]
[JsonSerializable(typeof(double[][]))]
internal sealed partial class Results : JsonSerializerContext;
