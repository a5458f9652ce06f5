using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;

namespace ScratchMamba.Tests.Mamba2;

/// <summary>Logits, final states, and the gradients of a fixed random mixture of them.</summary>
internal sealed record Outcome(double[] Logits, double[][] States, Dictionary<string, double[]> Gradients)
{
    /// <summary>How far float64 results may lie apart.</summary>
    public const double Tolerance = 1e-10;

    public static Outcome Of(Mamba2Model model, (Tensor Logits, Mamba2State State) result)
    {
        Tensor[] outputs = [result.Logits, .. result.State.Layers.SelectMany(layer => new[] { layer.Convolution, layer.Recurrent })];
        double[][] values = Array.ConvertAll(outputs, output => output.ToDoubles());
        var seeds = new List<(Tensor, Tensor)>();
        for (int i = 0; i < outputs.Length; i++)
        {
            var random = new Random(i);
            double[] seed = Array.ConvertAll(values[i], _ => random.NextDouble() - 0.5);
            if (outputs[i].RequiresGradient)
                seeds.Add((outputs[i], model.Backend.Tensor(outputs[i].Type, seed)));
        }
        Gradients gradients = Differentiation.Backward(seeds.ToArray());
        return new Outcome(values[0], values[1..], model.Parameters().ToDictionary(entry => entry.Path, entry => Gradient(entry.Parameter.Value)));

        // A state of one token does not depend on the decay: no gradient is a gradient of zero.
        double[] Gradient(Tensor parameter) => gradients.TryGet(parameter, out Tensor? gradient) ? gradient.ToDoubles() : new double[parameter.Count];
    }

    public static void AssertClose(Outcome expected, Outcome actual, double tolerance = Tolerance)
    {
        Check("logits", expected.Logits, actual.Logits);
        for (int i = 0; i < expected.States.Length; i++)
            Check($"state {i}", expected.States[i], actual.States[i]);
        foreach ((string path, double[] gradient) in expected.Gradients)
            Check($"gradient of {path}", gradient, actual.Gradients[path]);

        void Check(string what, double[] a, double[] b)
        {
            double error = RelativeError.Of(b, a);
            Assert.True(error <= tolerance, $"{what}: {error:g3}");
        }
    }
}
